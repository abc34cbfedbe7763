"""Held-out masks as cards: with their outlines, their prompt and their flags."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.masks.bounds import find_deepest_pixel
from backend.masks.packed import KeptMask
from backend.masks.svg import outline, resize
from backend.registry.review_file import DrawnMask, ReviewedObject
from backend.review.flags import Flag, count_flags
from backend.review.masks.crops import Window, fit_size

CARD_PX = 128  # longer side of a card's outlines; finer steps cannot be seen at a card's size
_EDGE_PX = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """SVG paths in a view of `width_px` x `height_px`; "" where nothing is drawn.

    `box` (left, top, width and height) or `click` is the prompt, in px of the view; the other is None.
    """

    width_px: int
    height_px: int
    human: str
    base: str
    candidate: str
    box: tuple[float, float, float, float] | None
    click: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One object: the chosen version's mask, and the mask to compare it with; None where the other version has none.

    `flags` are all analysts'; `mine` is the flag of the analyst who looks, None without one.
    """

    item: ReviewedObject
    prompt: str
    drawn: DrawnMask
    against: DrawnMask | None
    flags: tuple[Flag, ...]
    mine: Flag | None

    @property
    def gain(self) -> float | None:
        """The Boundary IoU of the version's mask, less that of the other mask; None without one."""
        return None if self.against is None else self.drawn.boundary_iou - self.against.boundary_iou

    @property
    def conviction(self) -> float:
        """The predicted IoU less the IoU with the annotator's mask: where it is large, one of the two is wrong."""
        return self.drawn.predicted_iou - self.drawn.iou

    @property
    def votes(self) -> dict[str, int]:
        """How many analysts give which verdict."""
        return count_flags(self.flags)

    def outlines(self, *, longest_px: int = CARD_PX, window: Window | None = None) -> Outlines:
        """Outline the three masks in `window`, a part of the image; None: the object's own window."""
        window = window or self.item.window
        size = fit_size(window, longest_px=longest_px)
        against = self.against.mask if self.against else None
        human, base, candidate = (
            "" if mask is None else _path(mask, window, size) for mask in (self.item.human, against, self.drawn.mask)
        )
        box, click = _mark(self.item.human, self.prompt, window, size)
        return Outlines(
            width_px=size[0], height_px=size[1], human=human, base=base, candidate=candidate, box=box, click=click
        )


def cards(
    objects: Sequence[ReviewedObject],
    *,
    prompt: str,
    against: Mapping[str, ReviewedObject] | None,
    flags: Iterable[Flag],
    analyst: str,
) -> list[Card]:
    """Make a card for every object.

    Args:
        objects: the version's held-out objects.
        prompt: "box" or "point".
        against: the objects of the version to compare with, by key; None compares with the base model.
        flags: of the version's masks.
        analyst: who looks.
    """
    said: dict[str, list[Flag]] = {}
    for flag in flags:
        if flag.prompt == prompt:
            said.setdefault(flag.key, []).append(flag)
    made = []
    for item in objects:
        other = item.drawn[prompt, "base"] if against is None else None
        if against is not None and item.key in against:
            other = against[item.key].drawn[prompt, "candidate"]
        made.append(
            Card(
                item=item,
                prompt=prompt,
                drawn=item.drawn[prompt, "candidate"],
                against=other,
                flags=tuple(said.get(item.key, ())),
                mine=next((flag for flag in said.get(item.key, ()) if flag.analyst == analyst), None),
            )
        )
    return made


def edge_window(card: Card) -> Window | None:
    """The part of the image around the place where version and annotator differ most; None where they agree."""
    y0, x0, height, width = card.item.window
    human, drawn = (
        mask.window(y0, x0, height_px=height, width_px=width) for mask in (card.item.human, card.drawn.mask)
    )
    wrong = human != drawn
    deepest = find_deepest_pixel(wrong)
    if deepest is None:
        return None
    side_y, side_x = min(_EDGE_PX, height), min(_EDGE_PX, width)
    top = min(max(deepest.row - side_y // 2, 0), height - side_y)
    left = min(max(deepest.column - side_x // 2, 0), width - side_x)
    return y0 + top, x0 + left, side_y, side_x


@functools.lru_cache(maxsize=8192)
def _path(mask: KeptMask, window: Window, size: tuple[int, int]) -> str:
    y0, x0, height, width = window
    return outline(resize(mask.window(y0, x0, height_px=height, width_px=width), size))


@functools.lru_cache(maxsize=8192)
def _mark(
    human: KeptMask, prompt: str, window: Window, size: tuple[int, int]
) -> tuple[tuple[float, float, float, float] | None, tuple[float, float] | None]:
    """The prompt that was measured with: the annotator's box, or one click at the deepest point of the object."""
    y0, x0, height, width = window
    across, down = size[0] / width, size[1] / height
    if prompt == "box":
        left, top = (human.x0_px - x0) * across, (human.y0_px - y0) * down
        wide, tall = human.width_px * across, human.height_px * down
        return (round(left, 1), round(top, 1), round(wide, 1), round(tall, 1)), None
    deepest = find_deepest_pixel(human.inflate().crop)
    if deepest is None:
        return None, None
    click = deepest.centre
    x = (click.x_px + human.x0_px - x0) * across
    return None, (round(x, 1), round((click.y_px + human.y0_px - y0) * down, 1))
