"""Turns prompts in image px into the tensors of SAM's prompt encoder."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import BadInput
from backend.masks.prompt import Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import Frame
from backend.sam.mask_prompt import logits_of_mask

PAD_LABEL = -10


@dataclass(frozen=True, slots=True)
class PromptTensors:
    """n prompts for the prompt encoder (Kirillov et al. 2023, appendix A, "Prompt encoder").

    Attributes:
        points: float32, x and y in canvas px; p points for every prompt, padded with zeros. None without clicks.
        labels: int64, the kind of every point: 1 for the object, 0 for the background, -10 for padding.
        boxes: float32, x0, y0, x1 and y1 in canvas px. None without boxes.
        masks: float32 logits in the frame of the grid, above 0 on the object. None without masks.
    """

    points: Float[Tensor, "1 n p 2"] | None
    labels: Int[Tensor, "1 n p"] | None
    boxes: Float[Tensor, "1 n 4"] | None
    masks: Float[Tensor, "n 1 g g"] | None

    @property
    def count(self) -> int:
        """The number of prompts."""
        if self.masks is not None:
            return len(self.masks)
        of_one = self.points if self.boxes is None else self.boxes
        return 0 if of_one is None else of_one.shape[1]

    def pad_to(self, count: int) -> "PromptTensors":
        """Fill up to a number of prompts with the last.

        Args:
            count: at least that of the prompts.

        Returns:
            `count` prompts.
        """
        missing = count - self.count

        def repeat_last(values: Tensor | None, axis: int) -> Tensor | None:
            if values is None or not missing:
                return values
            last = values.narrow(axis, values.shape[axis] - 1, 1)
            return torch.cat([values, last.repeat_interleave(missing, axis)], axis)

        on_axes = ((self.points, 1), (self.labels, 1), (self.boxes, 1), (self.masks, 0))
        return PromptTensors(*(repeat_last(values, axis) for values, axis in on_axes))

    def to(self, device: torch.device) -> "PromptTensors":
        """As `torch.Tensor.to`, for all tensors."""
        tensors = (self.points, self.labels, self.boxes, self.masks)
        return PromptTensors(*(None if tensor is None else tensor.to(device) for tensor in tensors))


def prompt_tensors(prompts: Sequence[Prompt], embedding: Embedding, *, frame: Frame) -> PromptTensors:
    """Bring prompts for one image from image px to canvas px.

    Args:
        prompts: at least one, in image px. All have a box or none has, and likewise for masks: SAM cannot pad these.
        embedding: of the image, for its size.
        frame: how the model's family lays out images.

    Returns:
        The prompts in their order, on the CPU. Points with the label -10 pad prompts with fewer clicks.

    Raises:
        BadInput: there is no prompt, a prompt is empty, only some have a box or a mask, or a mask has another size than
            the image.
    """
    size_px = embedding.height_px, embedding.width_px
    _check_together(prompts, size_px=size_px)
    height, width = frame.size_on_canvas(*size_px)
    scale = torch.tensor([width / embedding.width_px, height / embedding.height_px])
    points, labels = _list_clicks(prompts)
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    masks = [logits_of_mask(prompt.mask, frame=frame) for prompt in prompts if prompt.mask is not None]
    corners = torch.tensor([[[box.x0_px, box.y0_px, box.x1_px, box.y1_px] for box in boxes]])
    return PromptTensors(
        points=points * scale if labels.numel() else None,
        labels=labels if labels.numel() else None,
        boxes=corners * scale.repeat(2) if boxes else None,
        masks=torch.stack(masks)[:, None] if masks else None,
    )


def _check_together(prompts: Sequence[Prompt], *, size_px: tuple[int, int]) -> None:
    """Raise BadInput if the prompts cannot be decoded at once on an image of this height and width."""
    if not prompts or any(not prompt.clicks and prompt.box is None and prompt.mask is None for prompt in prompts):
        raise BadInput("a prompt needs at least one click, a box or a mask")
    for kind in ("box", "mask"):
        count = sum(getattr(prompt, kind) is not None for prompt in prompts)
        if 0 < count < len(prompts):
            raise BadInput(f"{count} of {len(prompts)} prompts have a {kind}; decode these separately")
    for prompt in prompts:
        if prompt.mask is not None and prompt.mask.shape != size_px:
            height, width = prompt.mask.shape
            raise BadInput(f"a mask to refine has {width}x{height} px, but the image has {size_px[1]}x{size_px[0]}")


def _list_clicks(prompts: Sequence[Prompt]) -> tuple[Float[Tensor, "1 n k 2"], Int[Tensor, "1 n k"]]:
    """The clicks in image px, and 1 for foreground or 0 for background; PAD_LABEL pads prompts with fewer clicks."""
    most = max(len(prompt.clicks) for prompt in prompts)
    points, labels = torch.zeros(1, len(prompts), most, 2), torch.full((1, len(prompts), most), PAD_LABEL)
    for row, prompt in enumerate(prompts):
        for column, click in enumerate(prompt.clicks):
            points[0, row, column] = torch.tensor([click.x_px, click.y_px])
            labels[0, row, column] = int(click.is_foreground)
    return points, labels


def join_prompts(parts: Sequence[PromptTensors]) -> PromptTensors:
    """Join the prompts of several images, in their order.

    Args:
        parts: of every image; all have the same parts, and as many points a prompt.

    Returns:
        All prompts, as one.
    """

    def join(name: str, axis: int) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values, axis)

    return PromptTensors(join("points", 1), join("labels", 1), join("boxes", 1), join("masks", 0))


def group_prompts(prompts: Sequence[Prompt], *, most: int) -> Iterator[list[int]]:
    """Group prompts that can be decoded together. Padding is a token too, and would change masks.

    Args:
        prompts: of one image.
        most: prompts in a group.

    Yields:
        The indices of prompts with the same parts and as many clicks.
    """
    kinds: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        kinds[len(prompt.clicks), prompt.box is not None, prompt.mask is not None].append(index)
    for indices in kinds.values():
        for first in range(0, len(indices), most):
            yield indices[first : first + most]
