"""Maps cut into square windows of tokens, and put together again."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Rows = Float[Tensor, "b h w c"]


def split_windows(rows: Rows, window: int) -> Float[Tensor, "windows n c"]:
    """Cut a map into windows of n = window**2 tokens, row by row. Zeros pad the right and the bottom edge."""
    b, h, w, c = map(int, rows.shape)  # in a trace they would be tensors, and ONNX rounds a negative quotient up
    rows = functional.pad(rows, (0, 0, 0, -w % window, 0, -h % window))
    down, across = -(-h // window), -(-w // window)
    rows = rows.view(b, down, window, across, window, c).transpose(2, 3)
    return rows.reshape(b * down * across, window**2, c)


def join_windows(tokens: Float[Tensor, "windows n c"], window: int, *, height: int, width: int) -> Rows:
    """Undo `split_windows` for maps of this height and width."""
    down, across = -(-height // window), -(-width // window)
    rows = tokens.view(-1, down, across, window, window, tokens.shape[-1]).transpose(2, 3)
    return rows.reshape(-1, down * window, across * window, tokens.shape[-1])[:, :height, :width]
