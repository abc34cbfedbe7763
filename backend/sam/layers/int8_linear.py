"""Linear layers that multiply in whole numbers of 8 bits, for processors that are slow at bfloat16 or have none.

Weights are rounded once, with a scale for every output channel. Activations are rounded as they come, with a scale for
every token, so that no calibration is needed and no image can exceed a range. Sums of whole numbers are exact: a result
depends neither on the number of threads nor on the order of the sums.

Without VNNI, x86 adds two products in 16 bits. There activations have 7 bits, since with 8 these sums would overflow.
"""

from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from backend.sam.layers.pointwise import is_traced

_MOST_WEIGHT = 127
_BITS = (8, 7)  # of an activation; the first with which the processor's sums are exact
_NUMBERS_AT_ONCE = 1 << 21  # of the input, over which rounding passes five times
_SMALLEST = 1e-12  # stands for the scale of a token or a channel that is all zeros


@cache
def activation_bits(device: str) -> int | None:
    """Bits of an activation in exact products here: 8, 7, or None where PyTorch has no such products."""
    if device != "cpu":
        return None
    weight = torch.full((32, 64), _MOST_WEIGHT, dtype=torch.int8)
    for bits in _BITS:
        largest = 2**bits - 1
        try:
            product = _Weight(weight, torch.ones(32)).multiply(
                torch.full((16, 64), largest, dtype=torch.uint8), offset=0
            )
        # AttributeError: PyTorch lacks the operation. RuntimeError: it takes other arguments, or refuses this device.
        except (AttributeError, RuntimeError):
            return None
        if bool((product == float(largest * _MOST_WEIGHT * 64)).all()):
            return bits
    return None


class Int8Linear(nn.Linear):
    """A linear layer that keeps its weights, and multiplies with their rounded copy where no gradient is needed.

    Args:
        layer: the layer whose weights this layer shares; they must not change afterwards.
        bits: of an activation, as `activation_bits` says.
    """

    def __init__(self, layer: nn.Linear, *, bits: int) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        weight = layer.weight.detach().float()
        scales = weight.abs().amax(1).clamp_min(_SMALLEST) / _MOST_WEIGHT
        self._rounded = _Weight((weight / scales[:, None]).round().to(torch.int8), scales)
        self._levels = 2 ** (bits - 1) - 1  # on either side of zero

    def forward(self, input: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch d"]:  # noqa: A002 - PyTorch's name
        """Apply the layer, in the dtype of its weights."""
        learnt = torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad)
        if learnt or is_traced():
            plain: Tensor = super().forward(input.to(self.weight.dtype))
            return plain
        rows = input.reshape(-1, self.in_features)
        parts = torch.split(rows, max(1, _NUMBERS_AT_ONCE // self.in_features))
        made = [self._multiply(part.float()).to(self.weight.dtype) for part in parts]
        out = made[0] if len(made) == 1 else torch.cat(made)
        return out.view(*input.shape[:-1], self.out_features)

    def _multiply(self, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        # Not `abs().amax(1)`, which writes a copy of the rows first.
        largest = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_()).clamp_min_(_SMALLEST)
        # PyTorch converts to int8 three times as fast as to uint8. The processor wants uint8, where `zero` is zero: the
        # sum wraps around, so -1 and 128 make 127.
        zero = self._levels + 1
        signed = (rows * (self._levels / largest)).round_().to(torch.int8)
        whole = signed.view(torch.uint8).add_(zero)
        product = self._rounded.multiply(whole, offset=zero)
        scales = largest / self._levels
        bias = cast("Tensor | None", self.bias)
        return product.mul_(scales) if bias is None else torch.addcmul(bias.float(), product, scales, out=product)


def round_linear_layers(encoder: nn.Module, *, bits: int) -> None:
    """Put an `Int8Linear` in the place of every plain linear layer of an encoder on the CPU."""
    for name, layer in list(encoder.named_modules()):
        if type(layer) is nn.Linear:
            encoder.set_submodule(name, Int8Linear(layer, bits=bits).train(layer.training))


class _Weight:
    """Rounded weights in oneDNN's own order. Copies of a layer share them: that order cannot be copied."""

    def __init__(self, weight: Tensor, scales: Float[Tensor, " d"]) -> None:
        # The number of rows is a guess that oneDNN chooses the order by.
        self._packed = torch.ops.onednn.qlinear_prepack(weight, [1024, weight.shape[1]])
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int64)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Weight":
        return self

    def multiply(self, rows: UInt8[Tensor, "n c"], *, offset: int) -> Float[Tensor, "n d"]:
        """Return `(rows - offset) weight^T`, times the channels' scales, in float32."""
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, offset, self._packed, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return out
