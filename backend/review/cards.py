"""Held-out masks in the order that an analyst wants, with their outlines and what was said of them."""

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
CARD_PX = 128  # of a card's outlines; finer steps than these cannot be told apart at its size
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
    """One object: what the chosen version drew, and what it is compared with; None where that drew nothing of it."""

    item: ReviewedObject
    drawn: DrawnMask
    against: DrawnMask | None
    flags: tuple[Flag, ...]
    mine: str | None

    @property
    def gain(self) -> float | None:
        """Boundary IoU."""
        return None if self.against is None else self.drawn.boundary_iou - self.against.boundary_iou

    @property
    def conviction(self) -> float:
        """How much better the model believes its mask to be than it is by the annotator's: a mistake of one of them."""
        return self.drawn.predicted_iou - self.drawn.iou

    @property
    def is_suspicious(self) -> bool:
        """Whether the conviction is a tenth or more: the figures that a page shows must tell the two apart."""
        return self.conviction >= _LEAST_CONVICTION

    @property
    def votes(self) -> dict[str, int]:
        """How many analysts say what."""
        return count_flags(self.flags)

    def outlines(self, *, longest_px: int = CARD_PX, window: Window | None = None) -> Outlines:
        """All three, over this part of the image; None: the object's own."""
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
    """A card an object. `against`: another version's objects by key; None: the base model. `flags`: the version's."""
    said: dict[str, list[Flag]] = {}
    for flag in flags:
        if flag.prompt == prompt:
            said.setdefault(flag.key, []).append(flag)
    found = []
    for item in objects:
        other = item.drawn[prompt, "base"] if against is None else None
        if against is not None and item.key in against:
            other = against[item.key].drawn[prompt, "candidate"]
        mine = next((flag.verdict for flag in said.get(item.key, ()) if flag.analyst == analyst), None)
        found.append(
            Card(
                item=item,
                drawn=item.drawn[prompt, "candidate"],
                against=other,
                flags=tuple(said.get(item.key, ())),
                mine=mine,
            )
        )
    return found


def order_cards(found: Iterable[Card], *, sort: str) -> list[Card]:
    """In one of SORTS; cards without anything to compare with come last."""
    match sort:
        case "worsened":
            return sorted(found, key=lambda card: (card.gain is None, card.gain or 0.0))
        case "uncertain":
            return sorted(found, key=lambda card: card.drawn.score)
        case "disagreeing":
            return sorted(found, key=lambda card: -card.conviction)
        case _:
            return sorted(found, key=lambda card: (card.gain is None, -(card.gain or 0.0)))


def edge_window(card: Card) -> Window | None:
    """The few pixels around the deepest point at which version and annotator differ; None where they are one."""
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
