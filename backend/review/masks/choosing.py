"""Filters and sorts of held-out masks."""

from collections.abc import Iterable

from backend.errors import BadInput
from backend.registry.review_file import PROMPTS
from backend.review.masks.cards import Card
from backend.review.visitor import MasksQuery

SORTS = {
    "tightened": "most tightened",
    "worsened": "most worsened",
    "iou": "lowest IoU",
    "best": "highest IoU",
    "uncertain": "most uncertain",
    "disagreeing": "most at odds with the annotator",
}
SCORES = {"low": "below 0.5", "middle": "0.5 to 0.8", "high": "0.8 and more"}
SIZES = {"small": "small, below 32² px", "medium": "medium", "large": "large, from 96² px"}
NOTED = "note"  # a filter among the flags: masks with a note
_LOW_BELOW, _HIGH_FROM = 0.5, 0.8
_MEDIUM_FROM_PX, _LARGE_FROM_PX = 32**2, 96**2  # COCO's (Lin et al. 2014), by the area that the annotator drew


def check_query(query: MasksQuery) -> None:
    """Check the prompt, the sort and the filters.

    Raises:
        BadInput: one of them is unknown.
    """
    for name, value, known in (
        ("prompt", query.prompt, PROMPTS),
        ("sort", query.sort, SORTS),
        ("size", query.size, ("", *SIZES)),
        ("score", query.score, ("", *SCORES)),
    ):
        if value not in known:
            raise BadInput(f"the {name} {value[:40]!r} is not one of {', '.join(filter(None, known))}")


def choose_cards(cards: Iterable[Card], query: MasksQuery) -> list[Card]:
    """The cards that pass every filter of the query, sorted as it says."""
    return sort_cards((card for card in cards if _is_wanted(card, query)), sort=query.sort)


def sort_cards(cards: Iterable[Card], *, sort: str) -> list[Card]:
    """Sort by one of SORTS; of gains, cards without a mask to compare with come last."""
    match sort:
        case "worsened":
            return sorted(cards, key=lambda card: (card.gain is None, card.gain or 0.0))
        case "iou":
            return sorted(cards, key=lambda card: card.drawn.iou)
        case "best":
            return sorted(cards, key=lambda card: -card.drawn.iou)
        case "uncertain":
            return sorted(cards, key=lambda card: card.drawn.score)
        case "disagreeing":
            return sorted(cards, key=lambda card: -card.conviction)
        case _:
            return sorted(cards, key=lambda card: (card.gain is None, -(card.gain or 0.0)))


def name_size(card: Card) -> str:
    """One of SIZES."""
    area_px = card.item.human.area_px
    return tuple(SIZES)[(area_px >= _MEDIUM_FROM_PX) + (area_px >= _LARGE_FROM_PX)]


def name_score(card: Card) -> str:
    """One of SCORES."""
    return tuple(SCORES)[(card.drawn.score >= _LOW_BELOW) + (card.drawn.score >= _HIGH_FROM)]


def _is_wanted(card: Card, query: MasksQuery) -> bool:
    return (
        (not query.label or card.item.label == query.label)
        and (not query.task or str(card.item.task_id) == query.task.strip())
        and (not query.size or name_size(card) == query.size)
        and (not query.score or name_score(card) == query.score)
        and (not query.flag or any(_is_flagged(card, query.flag)))
    )


def _is_flagged(card: Card, wanted: str) -> Iterable[bool]:
    return (bool(flag.note) if wanted == NOTED else flag.verdict == wanted for flag in card.flags)
