"""Writes a model as a folder that other programs load.

folder          writes the folder: transformers' (hf), segment-anything's (sam), or ONNX graphs
original_names  gives weights the names of the original releases
onnx_encoder    the image encoder as an ONNX graph
onnx_decoder    prompt encoder and mask decoder as one ONNX graph
onnx_semantic   the semantic head as an ONNX graph
onnx_card       how other programs get masks out of the graphs
"""
