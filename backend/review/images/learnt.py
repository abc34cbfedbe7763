"""The images of a version's training as cards: which side they were on, and what people drew on them."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.errors import BadInput
from backend.masks.packed import KeptMask
from backend.masks.svg import fit_view, outline
from backend.registry.image_file import VIEW_PX, StoredImage
from backend.registry.metrics import SplitMetrics

A_PAGE = 60
SIDES = {"learnt": "learnt from", "held-out": "held out"}
EMPTY = "nothing drawn"  # in the place of a label: images that were submitted without a region


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCard:
    """An image of the training. `is_learnt` and `is_held_out` are both true in a cross-validation."""

    image: StoredImage
    is_learnt: bool
    is_held_out: bool

    @property
    def view(self) -> tuple[int, int]:
        """Width and height, in px, in which the outlines are drawn."""
        return fit_view(self.image.height_px, self.image.width_px, longest_px=VIEW_PX)

    def outlines(self) -> str:
        """Outline what people drew, as one SVG path in the view."""
        return "".join(_outline(mask, self.view) for mask in self.image.masks)


def list_cards(images: Iterable[StoredImage], split: SplitMetrics | None) -> list[ImageCard]:
    """Make a card for every image that the version learnt from or was measured on, by task."""
    learnt, held_out = (frozenset(), frozenset()) if split is None else (set(split.learnt), set(split.held_out))
    cards = [
        ImageCard(image=image, is_learnt=image.image_sha256 in learnt, is_held_out=image.image_sha256 in held_out)
        for image in images
    ]
    return sorted((card for card in cards if card.is_learnt or card.is_held_out or split is None), key=_task)


def choose_cards(cards: Sequence[ImageCard], *, side: str, label: str) -> list[ImageCard]:
    """Return the cards of a side (one of SIDES) with a label (or EMPTY); "" chooses all.

    Raises:
        BadInput: there is no such side.
    """
    if side and side not in SIDES:
        raise BadInput(f"the side {side[:20]!r} is none of {', '.join(SIDES)}")
    return [
        card
        for card in cards
        if (not side or (card.is_learnt if side == "learnt" else card.is_held_out))
        and (not label or label in card.image.labels or (label == EMPTY and not card.image.labels))
    ]


def list_labels(cards: Iterable[ImageCard]) -> list[str]:
    """Return the labels on the images, and EMPTY last where an image has none."""
    images = [card.image for card in cards]
    return sorted({label for image in images for label in image.labels}) + [EMPTY] * any(
        not image.labels for image in images
    )


def _task(card: ImageCard) -> tuple[int, str]:
    task = card.image.task_id
    return (task, "") if isinstance(task, int) else (0, str(task))


@functools.lru_cache(maxsize=8192)
def _outline(mask: KeptMask, view: tuple[int, int]) -> str:
    return outline(mask.window(0, 0, height_px=view[1], width_px=view[0]))
