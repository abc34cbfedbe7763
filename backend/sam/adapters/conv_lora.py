"""Conv-LoRA: a low-rank update of the encoder's `qkv` layers with a convolution at a scale that a router chooses.

Zhong et al., "Convolution Meets LoRA: Parameter Efficient Finetuning for Segment Anything Model" (ICLR 2024),
section 3.2. This differs from the authors' code (AutoGluon, `adaptation_layers.py`) in three points:
- The chosen expert is multiplied by its gate over the gate's own value. That factor is 1, so the forward pass is the
  paper's, but the router receives the task's gradient. In the authors' code, with a single chosen expert, it does not.
- The router chooses once for an image, not for every window. Otherwise the windows of one object could get different
  scales, and windows of padding would vote.
- The balance is that of the gates' probabilities, not of the choices: one image gives one choice, which has no balance.
"""

import math
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from backend.sam.adapters.kind import Adapter, AdapterKind
from backend.sam.adapters.places import Place
from backend.sam.layers.pointwise import is_traced

RANK = 3
ALPHA = 32.0
EXPERTS = 8
_BALANCE_WEIGHT = 1e-2
_LEAST_NOISE = 1e-2

Grid = Float[Tensor, "windows h w r"]


class Router(nn.Module):
    """Noisy top-1 gates (Shazeer et al., 2017, section 2.1 and appendix A) over one image at a time."""

    def __init__(self, rank: int, experts: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(rank, experts))
        self.noise = nn.Parameter(torch.zeros(rank, experts))

    def forward(self, mean: Float[Tensor, " r"]) -> tuple[Int[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the expert's number, its gate (1, with a gradient) and the balance loss (0 in evaluation)."""
        clean = mean @ self.gate
        if not self.training:
            return clean.argmax(), clean.new_ones(()), clean.new_zeros(())
        spread = functional.softplus(mean @ self.noise) + _LEAST_NOISE
        noisy = clean + torch.randn_like(clean) * spread
        shares = noisy.softmax(0)
        chosen = noisy.argmax()
        balance = _BALANCE_WEIGHT * (_variation(shares) + _variation(_load(clean, noisy, spread)))
        return chosen, shares[chosen] / shares[chosen].detach(), balance


class ConvLoraLinear(nn.Module):
    """A frozen linear layer y = W x + b, and beside it (z + e_k(z)) B^T alpha / r with z = x A^T.

    The expert e_k enlarges z by k, convolves it 3x3, and reduces it again. B is zero at first, so a new adapter changes
    nothing. The input is the tokens of ONE image: (windows, h, w, in), or (windows, n, in) for square windows of n
    tokens.

    Args:
        frozen: the layer.
        rank: r.
        experts: how many experts there are.
        alpha: `alpha / rank` scales the update.
        padding: the value of a padding token, which has no vote for an expert; None for zeros.

    Attributes:
        balance: the router's loss in the last forward pass; 0 in evaluation.
        chosen: the expert's number in the last forward pass.
    """

    def __init__(
        self,
        frozen: nn.Linear,
        *,
        rank: int = RANK,
        experts: int = EXPERTS,
        alpha: float = ALPHA,
        padding: Float[Tensor, " in"] | None = None,
    ) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(requires_grad=False)
        self.down = nn.Parameter(torch.empty(rank, frozen.in_features))
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.experts = nn.ModuleList(nn.Conv2d(rank, rank, 3, padding=1) for _ in range(experts))
        self.router = Router(rank, experts)
        self.scale = alpha / rank
        self._padding = (padding,)  # in a tuple: it belongs to another module
        self.balance: Tensor = torch.zeros(())
        self.chosen = 0

    @property
    def weight(self) -> Tensor:
        """The frozen layer's weight: other code asks a linear layer for its dtype."""
        return self.frozen.weight

    def forward(self, tokens: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Apply both, in the dtype of the tokens; the r channels in between have that of the adapter's weights."""
        low = functional.linear(tokens, self.down.to(tokens.dtype)).to(self.down.dtype)
        padding = self._padding[0]
        real = tokens.ne(0 if padding is None else padding.to(tokens.dtype)).any(-1, keepdim=True)
        mean = (low * real).flatten(0, -2).sum(0) / real.sum().clamp(min=1)
        chosen, gate, self.balance = self.router(mean)
        grid = low.view(_grid(low))
        if is_traced():  # a plain number would fix the choice for the image that the graph is traced with
            seen = self._expert_of_graph(grid, chosen)
        else:
            self.chosen = number = int(chosen)  # a local too: another thread may overwrite the attribute
            seen = self._expert(grid, number)
        low = low + gate * seen.reshape(low.shape)
        update = functional.linear(low.to(tokens.dtype), (self.up * self.scale).to(tokens.dtype))
        out: Tensor = self.frozen(tokens) + update
        return out

    def _expert(self, low: Grid, number: int) -> Grid:
        maps, factor = low.permute(0, 3, 1, 2), number + 1
        if factor > 1:
            maps = functional.interpolate(maps, scale_factor=float(factor), mode="bicubic", align_corners=False)
        maps = functional.gelu(self.experts[number](maps))
        if factor > 1:
            maps = functional.interpolate(maps, size=low.shape[1:3], mode="bicubic", align_corners=False)
        return maps.permute(0, 2, 3, 1)

    def _expert_of_graph(self, low: Grid, chosen: Int[Tensor, ""]) -> Grid:
        """Apply any expert as `_expert` does, by selecting its channels and computing its sizes within the graph.

        Interpolation by the scale 1 changes nothing: at its own points a bicubic kernel is 1 and zeros.
        """
        convolutions = cast("list[nn.Conv2d]", list(self.experts))
        # All experts in one convolution, since the exporter wants a kernel whose shape follows from the weights alone.
        weight = torch.cat([layer.weight for layer in convolutions])
        bias = torch.cat([cast("Tensor", layer.bias) for layer in convolutions])
        _, height, width, rank = _grid(low)
        larger = cast("list[int]", [height * (chosen + 1), width * (chosen + 1)])
        maps = functional.interpolate(low.permute(0, 3, 1, 2), size=larger, mode="bicubic", align_corners=False)
        own = chosen * rank + torch.arange(rank)
        maps = functional.gelu(functional.conv2d(maps, weight, bias, padding=1).index_select(1, own))
        maps = functional.interpolate(maps, size=(height, width), mode="bicubic", align_corners=False)
        return maps.permute(0, 2, 3, 1)


def attach_conv_lora(
    encoder: nn.Module,
    *,
    places: Mapping[str, Place],
    rank: int = RANK,
    experts: int = EXPERTS,
    alpha: float = ALPHA,
) -> tuple[ConvLoraLinear, ...]:
    """Put an adapter around every layer in `places`, and freeze everything else; return the adapters in that order.

    Raises:
        ValueError: `places` is empty.
    """
    if not places:
        raise ValueError(f"{type(encoder).__name__} has no fused qkv layer for an adapter to sit on")
    encoder.requires_grad_(requires_grad=False)
    added = []
    for name, place in places.items():
        frozen = cast("nn.Linear", encoder.get_submodule(name))
        adapter = ConvLoraLinear(frozen, rank=rank, experts=experts, alpha=alpha, padding=place.padding)
        encoder.set_submodule(name, adapter)
        added.append(adapter)
    return tuple(added)


def adapter_parameters(encoder: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the weights of a checkpoint with an adapter: every added weight, with its name in the encoder."""
    for name, module in encoder.named_modules():
        if isinstance(module, ConvLoraLinear):
            for own, weight in module.named_parameters(prefix=name):
                if not own.startswith(f"{name}.frozen."):
                    yield own, weight


def balance_loss(encoder: nn.Module) -> Float[Tensor, ""]:
    """Return the routers' loss in the last forward pass, summed over the layers."""
    losses = [module.balance for module in encoder.modules() if isinstance(module, ConvLoraLinear)]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def _grid(low: Float[Tensor, "windows *places r"]) -> tuple[int, int, int, int]:
    if low.ndim == 4:
        return cast("tuple[int, int, int, int]", tuple(map(int, low.shape)))
    windows, places, rank = map(int, low.shape)
    side = math.isqrt(places)
    if side * side != places:
        raise ValueError(f"a window of {places} tokens is not a square: an adapter must know where its tokens lie")
    return windows, side, side, rank


def _variation(values: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """The squared coefficient of variation: 0 if all values are equal (Shazeer et al., equation 7)."""
    return values.var() / (values.mean().square() + 1e-10)


def _load(clean: Float[Tensor, " m"], noisy: Float[Tensor, " m"], spread: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """How likely every expert would come first if only its own noise were drawn again (equations 8 and 9)."""
    best, second = noisy.topk(2).values
    others = torch.where(noisy == best, second, best)
    likelihoods: Float[Tensor, " m"] = torch.special.ndtr((clean - others) / spread)
    return likelihoods


class ConvLoraKind:
    """See `kind.AdapterKind`. Its update depends on the image, so it cannot be merged into the weights."""

    name = "conv-lora"
    is_merged = False

    def shapes(self, name: str, place: Place, *, rank: int) -> Mapping[str, tuple[int, ...]]:
        """As `AdapterKind.shapes`: A, B, the router's gates, and the 3x3 convolution of every expert."""
        shapes: dict[str, tuple[int, ...]] = {
            f"{name}.down": (rank, place.layer.in_features),
            f"{name}.up": (place.layer.out_features, rank),
            f"{name}.router.gate": (rank, EXPERTS),
            f"{name}.router.noise": (rank, EXPERTS),
        }
        for number in range(EXPERTS):
            shapes[f"{name}.experts.{number}.weight"] = (rank, rank, 3, 3)
            shapes[f"{name}.experts.{number}.bias"] = (rank,)
        return shapes

    def put_into(self, encoder: nn.Module, adapter: Adapter, *, places: Mapping[str, Place]) -> None:
        """As `AdapterKind.put_into`: wraps the encoder's layers."""
        device = next(encoder.parameters()).device
        for added in attach_conv_lora(encoder, places=places, rank=adapter.rank, alpha=adapter.alpha):
            added.to(device)
        with torch.no_grad():
            for name, weight in adapter_parameters(encoder):
                weight.copy_(adapter.state[name])


KIND: AdapterKind = ConvLoraKind()
