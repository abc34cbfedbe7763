"""Crops the held-out objects that a training changed most, with the outlines of annotator, base and candidate."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from backend.masks.packed import KeptMask
from backend.masks.prompt import Box, Click
from backend.masks.svg import outline, resize
from finetuner.data.objects import LabelledMask
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import Measured

CASES = 4  # improved objects, and as many worsened ones
LONGEST_PX = 256  # the limit of a crop's longer side
_LEAST_CHANGE = 0.005  # IoU; a smaller change is not worth a look
_MARGIN_SHARE, _LEAST_MARGIN_PX = 0.2, 6
_REACH = 1.5  # how far a crop extends beyond the object, in its sides, if a mask floods the image

Pictures = Callable[[str], Image.Image | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """One object with one kind of prompt. Paths and marks are in px of the crop, `width_px` x `height_px`.

    `picture` is a data URI with a PNG of the crop; None if the image could not be read again.
    """

    label: str
    prompt: str
    image: str
    iou_before: float
    iou_after: float
    boundary_iou_before: float
    boundary_iou_after: float
    width_px: int
    height_px: int
    picture: str | None
    human: str
    base: str
    candidate: str
    box: Box | None
    click: Click | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An object, and both models' measurements of it with one kind of prompt."""

    truth: LabelledMask
    before: Measured
    after: Measured

    @property
    def gain(self) -> float:
        """The candidate's IoU minus the base's."""
        return self.after.values["iou"] - self.before.values["iou"]


def changes(
    samples: Sequence[Sample], base: Sequence[Measured], candidate: Sequence[Measured], *, count: int = CASES
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The most improved and the most worsened objects, up to `count` per kind, the greatest change first.

    An object appears once, with the prompt with which it changed more. Samples and measurements are in the order of
    evaluation.measure.
    """
    truths = [item for sample in samples for item in sample.objects for _ in ("box", "point")]
    greatest: dict[int, Change] = {}
    for truth, before, after in zip(truths, base, candidate, strict=True):
        change, known = Change(truth=truth, before=before, after=after), greatest.get(id(truth))
        if known is None or abs(change.gain) > abs(known.gain):
            greatest[id(truth)] = change
    ordered = sorted(greatest.values(), key=lambda change: -change.gain)
    improved = [change for change in ordered if change.gain >= _LEAST_CHANGE][:count]
    worsened = [change for change in reversed(ordered) if change.gain <= -_LEAST_CHANGE][:count]
    return tuple(improved), tuple(worsened)


def overlay(change: Change, *, pictures: Pictures) -> Overlay:
    """Crop the object and draw the outlines; only the crop of the image is kept."""
    truth, before, after = change.truth, change.before, change.after
    y0, x0, height, width = window_of(truth, before.mask, after.mask)
    scale = min(1.0, LONGEST_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    masks = [
        mask.window(y0, x0, height_px=height, width_px=width)
        for mask in (KeptMask.of(truth.mask), before.mask, after.mask)
    ]
    human, base, candidate = (outline(resize(mask, size)) for mask in masks)
    across, down = size[0] / width, size[1] / height
    box, click = truth.box, farthest_inner_point(truth)
    is_box = before.prompt == "box"
    return Overlay(
        label=before.label,
        prompt=before.prompt,
        image=before.image_sha256[:12],
        iou_before=before.values["iou"],
        iou_after=after.values["iou"],
        boundary_iou_before=before.values["boundary_iou"],
        boundary_iou_after=after.values["boundary_iou"],
        width_px=size[0],
        height_px=size[1],
        picture=_picture(pictures(before.image_sha256), (x0, y0, x0 + width, y0 + height), size),
        human=human,
        base=base,
        candidate=candidate,
        box=Box((box.x0_px - x0) * across, (box.y0_px - y0) * down, (box.x1_px - x0) * across, (box.y1_px - y0) * down)
        if is_box
        else None,
        click=None if is_box else Click((click.x_px - x0) * across, (click.y_px - y0) * down),
    )


def window_of(truth: LabelledMask, *masks: KeptMask) -> tuple[int, int, int, int]:
    """Top, left, height and width, in image px, of a window with the object and its masks.

    The window is inside the image, and shows only a part of a mask that floods it.
    """
    bounds = []
    for first, extent, kept, image_px in (
        (truth.bounds.y0_px, truth.crop_shape[0], [(m.y0_px, m.height_px) for m in masks], truth.height_px),
        (truth.bounds.x0_px, truth.crop_shape[1], [(m.x0_px, m.width_px) for m in masks], truth.width_px),
    ):
        reach, margin = round(_REACH * extent), max(_LEAST_MARGIN_PX, round(_MARGIN_SHARE * extent))
        seen = [(start, start + length) for start, length in kept if length]
        low = max(min([first, *(start for start, _ in seen)]), first - reach) - margin
        high = min(max([first + extent, *(end for _, end in seen)]), first + extent + reach) + margin
        low, high = max(low, 0), min(high, image_px)
        bounds.append((low, high - low))
    (y0, height), (x0, width) = bounds
    return y0, x0, height, width


def _picture(image: Image.Image | None, window: tuple[int, int, int, int], size: tuple[int, int]) -> str | None:
    if image is None:
        return None
    file = io.BytesIO()
    image.convert("RGB").crop(window).resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
