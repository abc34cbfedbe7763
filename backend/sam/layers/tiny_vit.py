"""TinyViT-5M as SAM's image encoder: convolutions first, then attention in windows; 1024x1024 in, 64x64 out.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers" (ECCV 2022), table 6, with the strides
that Zhang et al., "Faster Segment Anything" (2023, MobileSAM) gave it: the last stage keeps 64x64.

Every map has the shape (batch, channels, height, width) and lies channels-last in memory, so the (batch, height, width,
channels) of the linear layers is a view of it. BatchNorms are folded into their convolutions (families/mobile.py).
Layers whose inner width is four times the outer width compute strip by strip, with the same bits as a result. A strip
stays in the processor's cache, and the allocator need not fetch and return 33 MB for every layer, which takes a quarter
of the time.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoderOutput, SamVisionNeck

from backend.sam.layers.int8_linear import Int8Linear, Int8Mlp
from backend.sam.layers.pointwise import convolution, is_traced, linear
from backend.sam.layers.side_by_side import join_parts, split_evenly
from backend.sam.layers.windows import Rows, join_windows, split_windows

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (None, 4, 5, 10)  # stage 0 is convolutions only
WINDOWS = (None, 7, 14, 7)
STRIDES = (2, 2, 1)  # between the stages
EXPANSION = 4  # of the MBConvs and of the MLPs
_LEAST_SUM, _MOST_SUM = 1e-30, 1e30  # of exponentials: eight orders of magnitude within what bfloat16 holds
STRIP_NUMBERS = 1 << 20  # in a strip at its widest: 2 MB in bfloat16, a core's share of the cache

Map = Float[Tensor, "b c h w"]
NextMap = Float[Tensor, "b c2 h2 w2"]  # of another width and size


def _depthwise(channels: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)


def in_strips(strip: Callable[[Tensor, slice], Tensor], x: Map, *, stride: int, numbers_a_row: int) -> NextMap:
    """Apply `strip` to a map, one strip of rows at a time.

    Args:
        strip: takes rows of the map, including the rows around the strip that a 3x3 convolution of this stride sees;
            and the slice of the convolution's output rows to return. The other output rows saw zeros around the strip.
        x: the whole map.
        stride: 1, or 2 for a map of even height.
        numbers_a_row: how many numbers an output row takes at its widest. This determines the strips' height.
    """

    def draw(part: slice) -> Tensor:
        above = int(part.start > 0)
        seen = x[:, :, stride * (part.start - above) : stride * part.stop + int(stride == 1)]
        return strip(seen, slice(above, above + part.stop - part.start))

    # A GPU, or the program that runs a traced graph, manages its own cache.
    parts = split_evenly(-(-int(x.shape[2]) // stride), most=max(1, STRIP_NUMBERS // numbers_a_row), like=x)
    return join_parts(draw, parts, dim=2)


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2: an image (b, 3, h, w) becomes (b, 64, h/4, w/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, 2, 1)
        self.conv2 = nn.Conv2d(width // 2, width, 3, 2, 1)

    def forward(self, pixels: Map) -> NextMap:
        """Embed pixels, normalised as segment-anything does."""
        # In one piece: at only twice the width, strips cost more by rows computed twice than they save.
        return convolution(self.conv2, convolution(self.conv1, pixels, gelu=True))


class InvertedBottleneck(nn.Module):
    """MBConv: 1x1 to four times the width, 3x3 depthwise, 1x1 back, added to the input, GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, EXPANSION * width, 1)
        self.conv2 = _depthwise(EXPANSION * width)
        self.conv3 = nn.Conv2d(EXPANSION * width, width, 1)

    def forward(self, x: Map) -> Map:
        """Keep the shape."""

        def strip(seen: Tensor, right: slice) -> Tensor:
            wide = convolution(self.conv2, convolution(self.conv1, seen, gelu=True), gelu=True)
            return F.gelu(seen[:, :, right] + convolution(self.conv3, wide[:, :, right]))

        return in_strips(strip, x, stride=1, numbers_a_row=int(x.shape[3]) * self.conv1.out_channels)


class Downsample(nn.Module):
    """Leads to the next stage's width: 1x1, then 3x3 depthwise with the stride, then 1x1."""

    def __init__(self, width: int, wider: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, wider, 1)
        self.conv2 = _depthwise(wider, stride=stride)
        self.conv3 = nn.Conv2d(wider, wider, 1)

    def forward(self, x: Map) -> NextMap:
        """Widen, and divide height and width by the stride."""

        def strip(seen: Tensor, right: slice) -> Tensor:
            wide = convolution(self.conv2, convolution(self.conv1, seen, gelu=True), gelu=True)
            return convolution(self.conv3, wide[:, :, right])

        stride = self.conv2.stride[0]
        return in_strips(strip, x, stride=stride, numbers_a_row=stride * int(x.shape[3]) * self.conv1.out_channels)


def offset_index(window: int, *, device: torch.device | None = None) -> Int[Tensor, "n n"]:
    """Return the index of two tokens' bias: `|dy| * window + |dx|`, for n = window**2 tokens in row-major order."""
    steps = torch.arange(window, device=device)
    apart = (steps[:, None] - steps[None, :]).abs()
    index = apart[:, None, :, None] * window + apart[None, :, None, :]
    return index.reshape(window**2, window**2)


def mix_by_products(
    qkv: Float[Tensor, "windows n heads 3 d"], bias: Float[Tensor, "heads n n"]
) -> Float[Tensor, "windows n heads d"]:
    """Let every window's n tokens attend to each other, by two products of matrices with exponentials in between.

    Args:
        qkv: queries, keys and values.
        bias: added to the scaled scores of every window.

    Returns:
        The mixed values, in the dtype of `qkv`; there is no gradient.
    """
    windows, n, heads, _, d = map(int, qkv.shape)
    out = []
    for some in torch.tensor_split(qkv, -(-windows * heads * n * n // STRIP_NUMBERS)):
        query, key, value = (part.flatten(0, 1) for part in some.permute(3, 0, 2, 1, 4).contiguous())
        # PyTorch's softmax of such short rows takes three to six times as long as the exponentials in it, and divides
        # n numbers of a row by their sum, where d do here.
        shares = _score(query, key, bias).exp_()
        total = shares.sum(-1, keepdim=True, dtype=torch.float32)
        least, most = (float(sums) for sums in torch.aminmax(total))
        if least > _LEAST_SUM and most < _MOST_SUM:
            mixed = torch.bmm(shares, value).div_(total)
        else:  # a softmax subtracts a row's largest score first
            mixed = torch.bmm(torch.softmax(_score(query, key, bias), dim=-1), value)
        out.append(mixed.view(len(some), heads, n, d).transpose(1, 2))
    return torch.cat(out)


def _score(
    query: Float[Tensor, "batch n d"], key: Float[Tensor, "batch n d"], bias: Float[Tensor, "heads n n"]
) -> Float[Tensor, "batch n n"]:
    """Score every head of every window."""
    return bias.repeat(len(query) // len(bias), 1, 1).baddbmm_(query, key.mT, alpha=query.shape[-1] ** -0.5)


class WindowAttention(nn.Module):
    """LayerNorm, then multi-head attention among the tokens of one window, biased by how far apart they lie."""

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        # One head after the other, with query, key and value: (heads, 3, width / heads) rows.
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.biases = nn.Parameter(torch.zeros(heads, window**2))

    def forward(self, tokens: Float[Tensor, "windows n width"]) -> Float[Tensor, "windows n width"]:
        """Mix the n = window**2 tokens of every window; no residual."""
        count, n, width = map(int, tokens.shape)
        # Built in every call: it takes 0.2 % of the time, and a stored copy would go stale by training and `.to()`.
        bias = self.biases[:, offset_index(self.window, device=tokens.device)].to(self.qkv.weight.dtype)
        # An adapter may look at the whole image, as Conv-LoRA's routers do.
        is_plain = all(type(layer) in (nn.Linear, Int8Linear) for layer in (self.qkv, self.proj))
        most = max(1, 2 * STRIP_NUMBERS // (3 * width * n)) if is_plain else count
        parts = split_evenly(count, most=most, like=tokens)
        return join_parts(lambda part: self._mix(tokens[part], bias), parts, dim=0)

    def _mix(
        self, tokens: Float[Tensor, "windows n width"], bias: Float[Tensor, "heads n n"]
    ) -> Float[Tensor, "windows n width"]:
        count, n, width = map(int, tokens.shape)
        rows = self.norm(tokens).to(self.qkv.weight.dtype)
        qkv = linear(self.qkv, rows).view(count, n, self.heads, 3, width // self.heads)
        # PyTorch's fused kernel for CPUs calls the library once for every small piece of a product. In bfloat16 these
        # calls cost as much again as the products; in float32 the kernel is the faster of the two.
        by_products = qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16
        if by_products and not torch.is_grad_enabled() and not is_traced():
            mixed = mix_by_products(qkv, bias)
        else:
            query, key, value = qkv.permute(3, 0, 2, 1, 4)
            # Four dimensions: with three, PyTorch leaves its fused CPU kernel for one that takes twice as long.
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None]).transpose(1, 2)
        return linear(self.proj, mixed.reshape(count, n, width))


class Mlp(nn.Module):
    """LayerNorm, then two linear layers with a GELU in between, added to the input; on every token alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, EXPANSION * width)
        self.fc2 = nn.Linear(EXPANSION * width, width)
        self._rounded: Int8Mlp | None = None

    def join_rounded(self) -> None:
        """Compute in whole numbers from here on, if both linear layers do (`int8_linear.round_linear_layers`)."""
        self._rounded = None  # in a copy, an adapter may have taken a layer's place
        if isinstance(self.fc1, Int8Linear) and isinstance(self.fc2, Int8Linear):
            self._rounded = Int8Mlp(self.norm, self.fc1, self.fc2)

    def forward(self, tokens: Rows) -> Rows:
        """Keep the shape."""
        width = self.fc1.in_features
        flat = tokens.reshape(-1, width)
        parts = split_evenly(len(flat), most=max(1, 2 * STRIP_NUMBERS // self.fc1.out_features), like=flat)
        return join_parts(lambda part: flat[part] + self._mix(flat[part]), parts, dim=0).view(tokens.shape)

    def _mix(self, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        if self._rounded is not None and not self._rounded.is_exact(rows):
            return self._rounded(rows)
        return linear(self.fc2, linear(self.fc1, self.norm(rows), gelu=True))


class AttentionBlock(nn.Module):
    """Attention in windows with a residual, a 3x3 depthwise convolution without residual, an MLP with a residual."""

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(width, heads=heads, window=window)
        self.local_conv = _depthwise(width)
        self.mlp = Mlp(width)

    def forward(self, x: Map) -> Map:
        """Keep the shape."""
        rows = x.permute(0, 2, 3, 1).to(self.local_conv.weight.dtype)
        _, height, width, _ = map(int, rows.shape)
        window = self.attn.window
        mixed = self.attn(split_windows(rows, window))
        rows = rows + join_windows(mixed, window, height=height, width=width)
        rows = self.local_conv(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.mlp(rows)
        return out.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """The blocks of one width, and the layers that lead to the next width."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width, heads, window = WIDTHS[index], HEADS[index], WINDOWS[index]
        self.blocks = nn.Sequential(
            *(
                InvertedBottleneck(width)
                if heads is None or window is None
                else AttentionBlock(width, heads=heads, window=window)
                for _ in range(DEPTHS[index])
            )
        )
        self.downsample = (
            Downsample(width, WIDTHS[index + 1], stride=STRIDES[index]) if index < len(STRIDES) else nn.Identity()
        )

    def forward(self, x: Map) -> NextMap:
        """Apply the blocks, and go to the next stage's width and size."""
        passed: Tensor = self.downsample(self.blocks(x))
        return passed


class TinyVitEncoder(nn.Module):
    """Replaces the ViT in `transformers.SamModel`: (b, 3, 1024, 1024) pixels to (b, 256, 64, 64) features.

    The neck is SAM's own, so `config.hidden_size` must be 320 and `config.output_channels` 256.
    """

    def __init__(self, config: SamVisionConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(WIDTHS[0])
        self.stages = nn.Sequential(*(Stage(index) for index in range(len(WIDTHS))))
        self.neck = SamVisionNeck(config)

    def forward(self, pixel_values: Float[Tensor, "b 3 h w"], **_: object) -> SamVisionEncoderOutput:
        """Encode pixels. Accepts and ignores transformers' other arguments, which say what to record."""
        x = self.stages(self.patch_embed(pixel_values.contiguous(memory_format=torch.channels_last)))
        neck = self.neck
        rows = x.permute(0, 2, 3, 1).to(neck.conv1.weight.dtype)
        # Not a convolution: the order of the sums in oneDNN's float32 1x1 depends on the number of threads, so a click
        # on a busy server would get another edge than a click on an idle server.
        narrow = F.linear(rows, neck.conv1.weight[:, :, 0, 0]).permute(0, 3, 1, 2)
        return SamVisionEncoderOutput(last_hidden_state=neck.layer_norm2(neck.conv2(neck.layer_norm1(narrow))))

    def compute_in(self, dtype: torch.dtype) -> "TinyVitEncoder":
        """Cast the weights of the costly layers, except for those that first see the pixels, the neck and `local_conv`.

        Pixels rounded to bfloat16 lose half a grey level where an image is dark. The IoU of masks with those in float32
        is 0.993 with everything in bfloat16, 0.995 with the pixels' convolutions in float32, and 0.996 this way.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and not _stays_exact(name)):
                module.to(dtype)
        return self


def _stays_exact(convolution: str) -> bool:
    return convolution.startswith(("patch_embed.", "neck.")) or convolution.endswith(".local_conv")
