"""Held-out masks as cards: sorted as the analyst wants, with their outlines and flags."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.masks.bounds import find_deepest_pixel
from backend.masks.packed import KeptMask
from backend.masks.svg import outline, resize
from backend.registry.review_file import DrawnMask, ReviewedObject
from backend.review.crops import Window, fit_size
from backend.review.flags import Flag, count_flags

SORTS = {
    "tightened": "most tightened",
    "worsened": "most worsened",
    "uncertain": "most uncertain",
    "disagreeing": "most at odds with the annotator",
}
CARD_PX = 128  # longer side of a card's outlines; finer steps cannot be seen at a card's size
_LEAST_CONVICTION = 0.1  # of IoU
_EDGE_PX = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """SVG paths in a view of `width_px` x `height_px`; "" where nothing is drawn."""

    width_px: int
    height_px: int
    human: str
    base: str
    candidate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One object: the chosen version's mask, and the mask to compare it with; None where the other version has none.

    `flags` are all analysts'; `mine` is the verdict of the analyst who looks, None without one.
    """

    item: ReviewedObject
    drawn: DrawnMask
    against: DrawnMask | None
    flags: tuple[Flag, ...]
    mine: str | None

    @property
    def gain(self) -> float | None:
        """The Boundary IoU of the version's mask, less that of the other mask; None without one."""
        return None if self.against is None else self.drawn.boundary_iou - self.against.boundary_iou

    @property
    def conviction(self) -> float:
        """The predicted IoU less the IoU with the annotator's mask: where it is large, one of the two is wrong."""
        return self.drawn.predicted_iou - self.drawn.iou

    @property
    def is_suspicious(self) -> bool:
        """Whether the conviction is 0.1 or more, so that the two figures on the page differ visibly."""
        return self.conviction >= _LEAST_CONVICTION

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
        return Outlines(width_px=size[0], height_px=size[1], human=human, base=base, candidate=candidate)


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
        mine = next((flag.verdict for flag in said.get(item.key, ()) if flag.analyst == analyst), None)
        made.append(
            Card(
                item=item,
                drawn=item.drawn[prompt, "candidate"],
                against=other,
                flags=tuple(said.get(item.key, ())),
                mine=mine,
            )
        )
    return made


def sort_cards(unsorted: Iterable[Card], *, sort: str) -> list[Card]:
    """Sort by one of SORTS; cards without a mask to compare with come last."""
    match sort:
        case "worsened":
            return sorted(unsorted, key=lambda card: (card.gain is None, card.gain or 0.0))
        case "uncertain":
            return sorted(unsorted, key=lambda card: card.drawn.score)
        case "disagreeing":
            return sorted(unsorted, key=lambda card: -card.conviction)
        case _:
            return sorted(unsorted, key=lambda card: (card.gain is None, -(card.gain or 0.0)))


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
