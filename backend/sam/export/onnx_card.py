"""What the card of an ONNX export tells: how other programs get masks out of its graphs."""

import json
from collections.abc import Sequence

from backend.sam.export.onnx_decoder import EMBEDDING, INPUTS, OBJECT_SCORE, OPSET, name_maps, name_outputs, pads_boxes
from backend.sam.export.onnx_encoder import PIXELS
from backend.sam.export.onnx_semantic import SEMANTIC_OUTPUT
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel

ENCODER_FILE, DECODER_FILE, SEMANTIC_FILE = "encoder.onnx", "mask_decoder.onnx", "semantic_head.onnx"
_PADDED = """\
scale = {side} / max(image.size)
size = [max(1, int(side * scale + 0.5)) for side in image.size]"""
_STRETCHED = "size = [{side}, {side}]"


def snippet(frame: Frame, *, pads_boxes: bool) -> str:
    """A program that finds one object with the exported graphs, as the card prints it.

    Args:
        frame: of the model's family.
        pads_boxes: as `onnx_decoder.pads_boxes`.
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
    """The section "How to load it"; `maps` are the shapes of an embedding's maps, the coarsest first."""
    parts = [_example(base), _encoder(base, maps), _decoder(base, maps)]
    if base.semantic is not None:
        parts.append(_semantic(base.semantic.labels, frame=base.frame))
    return "\n\n".join(parts)


def _example(base: BaseModel) -> str:
    program = snippet(base.frame, pads_boxes=pads_boxes(base.model))
    return (
        f"Graphs in float32 (opset {OPSET}) that onnxruntime runs, in Python, C++ or a browser. This takes `image.jpg` "
        f"in this folder, and needs onnxruntime, NumPy and Pillow:\n\n```python\n{program}```"
    )


def _encoder(base: BaseModel, maps: Sequence[Sequence[int]]) -> str:
    frame, side = base.frame, base.frame.canvas_px
    outputs = ", ".join(
        f"`{name}` ({', '.join(map(str, shape))})" for name, shape in zip(name_maps(len(maps)), maps, strict=True)
    )
    laid = (
        f"is resized bilinearly to a longest side of {side} px, brought to the mean and deviation above, and lies at "
        "the canvas' top left, zeros right of it and below"
        if frame.keeps_aspect
        else f"is stretched bilinearly to {side} x {side} px and brought to the mean and deviation above"
    )
    return (
        f"`{ENCODER_FILE}`, once an image: `{PIXELS}` (1, 3, {side}, {side}) to {outputs}. "
        f"The image, upright and in RGB, {laid}. What training changed in the "
        "encoder is in the graph: LoRA as part of the weights, Conv-LoRA with its routers and all its experts."
    )


def _decoder(base: BaseModel, maps: Sequence[Sequence[int]]) -> str:
    frame = base.frame
    given, made = (*INPUTS, *name_maps(len(maps))[1:]), name_outputs(base.model)
    inputs, outputs = (", ".join(f"`{name}`" for name in names) for names in (given, made))
    once = "after all others" if pads_boxes(base.model) else "where a prompt has no box"
    asked = (
        f"`{DECODER_FILE}`, once a prompt, as segment-anything exports it. Inputs: {inputs}. Points (1, n, 2) are in "
        "px of the canvas; labels (1, n) say 1 object, 0 background, 2 and 3 a box's top left and bottom right corner, "
        f"-1 padding: one point of it, at (0, 0), {once}. A mask of an earlier round goes in as its "
        "`low_res_masks`, with `has_mask_input` 1."
    )
    answered = (
        f"Outputs: {outputs}: logits (1, 4, height, width), mask where "
        f"above 0; the predicted IoUs (1, 4); logits (1, 4, {frame.grid}, {frame.grid}). "
        "Mask 0 is the single one. samloop takes "
        "it for every prompt but one click on an object alone; there it takes mask 1 where that has the higher score, "
        "which is the predicted IoU times the stability (of the logits above -1 the share that is above 1)."
    )
    scored = (
        f" `{OBJECT_SCORE}` (1,) is above 0 where the model sees the prompt's object in the image; else "
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
        else "the ground's map and then one a label: the highest tells what lies there"
    )
    return (
        f"`{SEMANTIC_FILE}`, the semantic head, without a prompt: `{EMBEDDING}` to `{SEMANTIC_OUTPUT}` "
        f"(1, {len(labels) + (len(labels) > 1)}, {frame.grid}, {frame.grid}), logits on the canvas, {rule}. "
        f"Labels, in order: {names} "
        "(null: objects without one). samloop makes a region of each connected part."
    )
