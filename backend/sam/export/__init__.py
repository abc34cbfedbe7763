"""Writes a model as a folder that other programs load.

folder          writes the folder: transformers' (hf), segment-anything's (sam), or ONNX graphs
original_names  gives weights the names of the original releases
onnx_encoder    writes the image encoder as an ONNX graph
onnx_decoder    writes the prompt encoder and the mask decoder as one ONNX graph
onnx_semantic   writes the semantic head as an ONNX graph
onnx_card       explains how other programs get masks from the graphs
"""
