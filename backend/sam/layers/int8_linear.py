"""Linear layers that multiply in whole numbers of 8 bits, for processors that are slow at bfloat16 or have none.

Weights are rounded once, with a scale for every output channel. Activations are rounded as they come, with a scale for
every token, so that no calibration is needed and no image can exceed a range. Between two layers after a LayerNorm the
ranges follow from the weights. Sums of whole numbers are exact: a result depends neither on the number of threads nor
on the order of the sums.

Without VNNI, x86 adds two products in 16 bits. There activations have 7 bits, since with 8 these sums would overflow.
"""

from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from backend.sam.layers.pointwise import is_traced

_MOST_WEIGHT = 127
_BITS = (8, 7)  # of an activation; the first with which the processor's sums are exact
_NUMBERS_AT_ONCE = 1 << 21  # of the input, over which rounding passes five times
_SMALLEST = 1e-12  # stands for the scale of a token or a channel that is all zeros
_DEVIATIONS = 6.0  # from the mean: what lies farther off counts as just as far; photographs reach 5 to 8
_LEAST_GELU = -0.17  # the smallest value of the function


@cache
def activation_bits(device: str) -> int | None:
    """Bits of an activation in exact products here: 8, 7, or None where PyTorch has no such products."""
    if device != "cpu":
        return None
    weight = torch.full((32, 64), _MOST_WEIGHT, dtype=torch.int8)
    for bits in _BITS:
        largest = 2**bits - 1
        rows = torch.full((16, 64), largest, dtype=torch.uint8)
        try:
            rounded = _Weight(weight, torch.ones(32))
            product = rounded.multiply(rows, offset=0)
            rounded.multiply(rows, offset=0, gelu_in=(1.0, 0))
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
        self.rounded = _Weight.of(layer.weight.detach().float())
        self._levels = 2 ** (bits - 1) - 1  # on either side of zero

    def forward(self, input: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch d"]:  # noqa: A002 - PyTorch's name
        """Apply the layer, in the dtype of its weights."""
        if self.is_exact(input):
            plain: Tensor = super().forward(input.to(self.weight.dtype))
            return plain
        rows = input.reshape(-1, self.in_features)
        parts = torch.split(rows, max(1, _NUMBERS_AT_ONCE // self.in_features))
        made = [self._multiply(part.float()).to(self.weight.dtype) for part in parts]
        out = made[0] if len(made) == 1 else torch.cat(made)
        return out.view(*input.shape[:-1], self.out_features)

    def is_exact(self, x: Tensor) -> bool:
        """Return whether the layer multiplies with its weights as they are: for a gradient, or in a traced graph."""
        return is_traced() or (torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad))

    def _multiply(self, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        # Not `abs().amax(1)`, which writes a copy of the rows first.
        largest = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_()).clamp_min_(_SMALLEST)
        whole, zero = _to_whole(rows * (self._levels / largest), levels=self._levels)
        product = self.rounded.multiply(whole, offset=zero)
        scales = largest / self._levels
        bias = cast("Tensor | None", self.bias)
        return product.mul_(scales) if bias is None else torch.addcmul(bias.float(), product, scales, out=product)


class Int8Mlp:
    """A LayerNorm, a linear layer, a GELU and a linear layer, with nothing but whole numbers between the linear layers.

    Numbers that are never written cannot tell their range. It follows from the weights: a LayerNorm first makes numbers
    of mean 0 and variance 1, and the first layer's sums of these have known means and, if the numbers were independent,
    known deviations. So nothing is measured in images, and any weights will do. Activations have 8 bits.

    Args:
        norm: comes first. Neither its weights nor those of the layers may change afterwards.
        inner: the first linear layer.
        outer: the second.
    """

    @torch.no_grad()
    def __init__(self, norm: nn.LayerNorm, inner: Int8Linear, outer: Int8Linear) -> None:
        self.is_exact = inner.is_exact  # whether to call the layers one by one instead
        self._shape, self._eps = norm.normalized_shape, norm.eps
        self._levels = 2 ** (_BITS[0] - 1) - 1
        self._gain = torch.full(self._shape, self._levels / _DEVIATIONS)
        # The norm's own weights become the layer's, so that all channels use the whole range.
        weight = inner.weight.float() * norm.weight.float()
        self._inner, self._outer = _Weight.of(weight), outer.rounded
        self._inner_bias = inner.bias.float() + inner.weight.float() @ norm.bias.float()
        self._outer_bias, self._dtype = outer.bias.float(), outer.weight.dtype
        largest = float((self._inner_bias + _DEVIATIONS * weight.norm(dim=1)).max())
        self._hidden_scale = (max(largest, -_LEAST_GELU) - _LEAST_GELU) / torch.iinfo(torch.uint8).max
        self._hidden_zero = round(-_LEAST_GELU / self._hidden_scale)

    def __call__(self, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        """Pass rows through; the result has the dtype of the second layer's weights."""
        normed = functional.layer_norm(rows.float(), self._shape, self._gain, None, self._eps)
        whole, zero = _to_whole(normed.clamp_(-self._levels, self._levels), levels=self._levels)
        scale, hidden_in = _DEVIATIONS / self._levels, (self._hidden_scale, self._hidden_zero)
        hidden = self._inner.multiply(whole, offset=zero, scale=scale, bias=self._inner_bias, gelu_in=hidden_in)
        scale, zero = hidden_in
        return self._outer.multiply(hidden, offset=zero, scale=scale, bias=self._outer_bias).to(self._dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Int8Mlp":
        return self


def _to_whole(scaled: Float[Tensor, "n c"], *, levels: int) -> tuple[UInt8[Tensor, "n c"], int]:
    """Round numbers of [-levels, levels], which are overwritten; returns them above the number that stands for zero."""
    # PyTorch converts to int8 three times as fast as to uint8. The processor wants uint8, where `zero` is zero: the
    # sum wraps around, so -1 and 128 make 127.
    zero = levels + 1
    return scaled.round_().to(torch.int8).view(torch.uint8).add_(zero), zero


def round_linear_layers(encoder: nn.Module, *, bits: int) -> None:
    """Put an `Int8Linear` in the place of every plain linear layer of an encoder on the CPU.

    Then call `join_rounded` of the modules that have such a method: they may use an `Int8Mlp`. With 7 bits they may
    not, since masks of nuclei would have an IoU of 0.989 with those of float32.
    """
    for name, layer in list(encoder.named_modules()):
        if type(layer) is nn.Linear:
            encoder.set_submodule(name, Int8Linear(layer, bits=bits).train(layer.training))
    for module in encoder.modules() if bits == _BITS[0] else ():
        if join := getattr(module, "join_rounded", None):
            join()


class _Weight:
    """Rounded weights in oneDNN's own order. Copies of a layer share them: that order cannot be copied."""

    def __init__(self, weight: Tensor, scales: Float[Tensor, " d"]) -> None:
        # The number of rows is a guess that oneDNN chooses the order by.
        self._packed = torch.ops.onednn.qlinear_prepack(weight, [1024, weight.shape[1]])
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int64)

    @classmethod
    def of(cls, weight: Float[Tensor, "d c"]) -> "_Weight":
        """Round with the largest number of a channel as the largest whole number."""
        scales = weight.abs().amax(1).clamp_min(_SMALLEST) / _MOST_WEIGHT
        return cls((weight / scales[:, None]).round().to(torch.int8), scales)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Weight":
        return self

    def multiply(
        self,
        rows: UInt8[Tensor, "n c"],
        *,
        offset: int,
        scale: float = 1.0,
        bias: Float[Tensor, " d"] | None = None,
        gelu_in: tuple[float, int] | None = None,
    ) -> Tensor:
        """Return `scale * (rows - offset) weight^T + bias`, weights times the channels' scales.

        It is (n, d) in float32; or, with a GELU, in uint8, by the scale and the zero of `gelu_in`.
        """
        out_scale, out_zero = gelu_in or (1.0, 0)
        dtype, name, algorithm = (torch.float32, "none", "") if gelu_in is None else (torch.uint8, "gelu", "none")
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows,
            scale,
            offset,
            self._packed,
            self._scales,
            self._zeros,
            bias,
            out_scale,
            out_zero,
            dtype,
            name,
            [],
            algorithm,
        )
        return out
