"""The card of an ONNX export: explains how other programs get masks from its graphs."""

import json
from collections.abc import Sequence

from backend.sam.export.onnx_decoder import EMBEDDING, INPUTS, OBJECT_SCORE, OPSET, name_maps, name_outputs, pads_boxes
from backend.sam.export.onnx_encoder import PIXELS
from backend.sam.export.onnx_semantic import SEMANTIC_OUTPUT
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel
from backend.sam.policy import AGREEING, WHOLE_IMAGE

ENCODER_FILE, DECODER_FILE, SEMANTIC_FILE = "encoder.onnx", "mask_decoder.onnx", "semantic_head.onnx"
_PADDED = """\
scale = {side} / max(image.size)
size = [max(1, int(side * scale + 0.5)) for side in image.size]"""
_STRETCHED = "size = [{side}, {side}]"


def snippet(frame: Frame, *, pads_boxes: bool) -> str:
    """Return the card's program, which finds one object with the exported graphs.

    Args:
        frame: of the model's family.
        pads_boxes: as `onnx_decoder.pads_boxes` returns it.
    """
    side, grid = frame.canvas_px, frame.grid
    size = (_PADDED if frame.keeps_aspect else _STRETCHED).format(side=side)
    corners, kinds = "[40.0, 30.0], [200.0, 160.0]", "2, 3"
    if pads_boxes:
        corners, kinds = f"{corners}, [0.0, 0.0]", f"{kinds}, -1"
    return f"""\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB")
points, labels = [{corners}], [{kinds}]  # a box's corners in px of the image

{size}
rgb = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)
pixels = np.zeros((1, {side}, {side}, 3), np.float32)
pixels[0, : size[1], : size[0]] = (rgb - {list(frame.mean)}) / {list(frame.std)}
encoder = onnxruntime.InferenceSession("{ENCODER_FILE}")
maps = encoder.run(None, {{"{PIXELS}": pixels.transpose(0, 3, 1, 2)}})

decoder = onnxruntime.InferenceSession("{DECODER_FILE}")
masks, scores, *_ = decoder.run(None, {{
    **{{output.name: values for output, values in zip(encoder.get_outputs(), maps)}},
    "point_coords": np.array([points], np.float32) * np.divide(size, image.size, dtype=np.float32),
    "point_labels": np.array([labels], np.float32),
    "mask_input": np.zeros((1, 1, {grid}, {grid}), np.float32),
    "has_mask_input": np.zeros(1, np.float32),
    "orig_im_size": np.array(image.size[::-1], np.float32),
}})
mask = masks[0, 0] > 0  # as large as the image, True on the object
Image.fromarray(mask).save("mask.png")
"""


def onnx_card(base: BaseModel, *, maps: Sequence[Sequence[int]]) -> str:
    """Return the section "How to load it"; `maps` are the shapes of an embedding's maps, the coarsest first."""
    parts = [_example(base), _encoder(base, maps), _decoder(base, maps)]
    if base.semantic is not None:
        parts.append(_semantic(base.semantic.labels, frame=base.frame))
    return "\n\n".join(parts)


def _example(base: BaseModel) -> str:
    program = snippet(base.frame, pads_boxes=pads_boxes(base.model))
    return (
        f"onnxruntime runs these float32 graphs (opset {OPSET}) in Python, C++ or a browser. This program reads "
        f"`image.jpg` in this folder, and needs onnxruntime, NumPy and Pillow:\n\n```python\n{program}```"
    )


def _encoder(base: BaseModel, maps: Sequence[Sequence[int]]) -> str:
    frame, side = base.frame, base.frame.canvas_px
    outputs = ", ".join(
        f"`{name}` ({', '.join(map(str, shape))})" for name, shape in zip(name_maps(len(maps)), maps, strict=True)
    )
    laid = (
        f"is resized bilinearly to a longer side of {side} px, normalised by the mean and deviation above, and placed "
        "at the canvas' top left, with zeros right of it and below"
        if frame.keeps_aspect
        else f"is stretched bilinearly to {side} x {side} px and normalised by the mean and deviation above"
    )
    return (
        f"`{ENCODER_FILE}` runs once for an image. It turns `{PIXELS}` (1, 3, {side}, {side}) into {outputs}. "
        f"The image, upright and in RGB, {laid}. The graph contains everything that a training "
        "changed in the encoder: LoRA as part of the weights, Conv-LoRA with its routers and all its experts."
    )


def _decoder(base: BaseModel, maps: Sequence[Sequence[int]]) -> str:
    frame = base.frame
    given, made = (*INPUTS, *name_maps(len(maps))[1:]), name_outputs(base.family)
    inputs, outputs = (", ".join(f"`{name}`" for name in names) for names in (given, made))
    once = "after all other points" if pads_boxes(base.model) else "if the prompt has no box"
    asked = (
        f"`{DECODER_FILE}` runs once for a prompt, like segment-anything's own export. Inputs: {inputs}. Points "
        "(1, n, 2) are in px of the canvas. Labels (1, n) are 1 for the object, 0 for the background, 2 and 3 for a "
        "box's top left and bottom right corner, and -1 for padding. A prompt needs one padding point, at (0, 0), "
        f"{once}. To refine an earlier mask, pass its `low_res_masks`, with `has_mask_input` 1."
    )
    answered = (
        f"Outputs: {outputs}. These are logits (1, 4, height, width), above 0 on the object; "
        f"the predicted IoUs (1, 4); and logits (1, 4, {frame.grid}, {frame.grid}). "
        "Mask 0 is the single mask. samloop takes it for every prompt except a lone click on an object. For such a "
        f"click it takes mask 1 if mask 3 covers more than {WHOLE_IMAGE:g} of the image, or if the IoU of "
        f"masks 0 and 1 is above {AGREEING:g}, else mask 0. A training may choose "
        "another rule (`click_policy` in its manifest). A version with a `magnification` in its manifest answers small "
        "objects in tiles of the image, which it encodes by themselves; these files do not cut tiles."
    )
    scored = (
        f" `{OBJECT_SCORE}` (1,) is above 0 if the model sees the prompt's object in the image. If not, "
        "all logits are -1024, and the masks are empty."
        if OBJECT_SCORE in made
        else ""
    )
    return f"{asked}\n\n{answered}{scored}"


def _semantic(labels: Sequence[str | None], *, frame: Frame) -> str:
    names = json.dumps(labels, ensure_ascii=False)
    rule = (
        "one map, above 0 on objects of the label"
        if len(labels) == 1
        else "a map for the ground and then one for every label; the highest map is the label of a place"
    )
    return (
        f"`{SEMANTIC_FILE}` is the semantic head and needs no prompt. It turns `{EMBEDDING}` into `{SEMANTIC_OUTPUT}` "
        f"(1, {len(labels) + (len(labels) > 1)}, {frame.grid}, {frame.grid}), logits on the canvas: {rule}. "
        f"Labels, in order: {names} "
        "(null stands for objects without a label). samloop makes a region of every connected part."
    )
