"""Linear layers and convolutions, with the GELU after them, in one operation if the CPU library has it.

oneDNN, PyTorch's library for CPUs, applies a GELU while a product is still in the cache, and adds a bias without first
writing it to every row. Eager PyTorch does neither. The operations here are those that torch.compile's output calls.
They have no gradients and no public interface. Where such an operation does not apply, is missing, or gives a wrong
result, the usual layers run.
"""

from functools import cache
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

_DTYPES = (torch.float32, torch.bfloat16)
_CLOSE = 0.05  # of numbers near 1 in bfloat16


def linear(layer: nn.Module, x: Float[Tensor, "*batch c"], *, gelu: bool = False) -> Float[Tensor, "*batch d"]:
    """Return `layer(x)`, with a GELU after it if `gelu`. x may have a finer dtype than the layer's weights.

    A layer that is not a plain `nn.Linear`, such as one with an adapter, is simply called.
    """
    if type(layer) is nn.Linear:
        return product(x.to(layer.weight.dtype), layer.weight, layer.bias, gelu=gelu)
    out: Tensor = layer(x)
    return F.gelu(out) if gelu else out


def product(
    x: Float[Tensor, "*batch c"], weight: Float[Tensor, "d c"], bias: Float[Tensor, " d"] | None, *, gelu: bool = False
) -> Float[Tensor, "*batch d"]:
    """Return `x weight^T + bias`, with a GELU after it if `gelu`; all of the same dtype."""
    # In float32, oneDNN is a tenth faster than MKL where there is AVX2, and twice as fast on AMD's AVX-512. Under
    # autocast the weights are float32 whatever it computes in, and F.linear casts them.
    if x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type) and _fuses(x, weight, bias):
        return _linear(x, weight, bias, gelu=gelu)
    out = F.linear(x, weight, bias)
    return F.gelu(out) if gelu else out


def convolution(layer: nn.Module, x: Float[Tensor, "b c h w"], *, gelu: bool = False) -> Float[Tensor, "b d h2 w2"]:
    """Return `layer(x)`, with a GELU after it if `gelu`. x may have a finer dtype than the layer's weights."""
    if type(layer) is nn.Conv2d:
        x = x.to(layer.weight.dtype)
        if _fuses(x, layer.weight, layer.bias):
            return _convolution(x, layer, gelu=gelu)
    out: Tensor = layer(x)
    return F.gelu(out) if gelu else out


def _fuses(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if is_traced():  # ONNX knows only public operations
        return False
    learnt = any(tensor is not None and tensor.requires_grad for tensor in (x, weight, bias))
    return not (torch.is_grad_enabled() and learnt) and has_fused_operations(x.device.type, x.dtype)


def is_traced() -> bool:
    """Return whether this thread is tracing a graph, which happens when a model is exported to ONNX."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


@cache
def has_fused_operations(device: str, dtype: torch.dtype) -> bool:
    """Return whether the fused operations exist for this device and dtype, and give the right results."""
    if device != "cpu" or dtype not in _DTYPES:
        return False
    x = torch.linspace(-1, 1, 64, dtype=dtype).view(1, 4, 4, 4).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(4, 4, 3, padding=1).to(dtype).requires_grad_(requires_grad=False)
    weight, bias = layer.weight[:, :, 1, 1].contiguous(), cast("Tensor", layer.bias)
    rows = x.permute(0, 2, 3, 1)
    try:
        fused = (
            _convolution(x, layer, gelu=True),
            _linear(rows, weight, bias, gelu=True),
            _linear(rows, weight, bias, gelu=False),
        )
    # AttributeError: there is no such operation. RuntimeError, the base of torch's errors: it takes other arguments.
    except (AttributeError, RuntimeError):
        return False
    plain = F.gelu(layer(x)), F.gelu(F.linear(rows, weight, bias)), F.linear(rows, weight, bias)
    return all(torch.allclose(ours, theirs, atol=_CLOSE) for ours, theirs in zip(fused, plain, strict=True))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool) -> Tensor:
    name, algorithm = ("gelu", "none") if gelu else ("none", "")
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], algorithm)  # noqa: SLF001
    return out


def _convolution(x: Tensor, layer: nn.Conv2d, *, gelu: bool) -> Tensor:
    # Without a GELU too: a thread of one core would leave 1x1 convolutions to another library, which takes longer.
    name, algorithm = ("gelu", "none") if gelu else ("none", "")
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
        x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups, name, [], algorithm
    )
    return out
