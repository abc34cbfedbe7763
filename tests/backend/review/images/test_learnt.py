"""The images of a training as cards, by task, chosen by their side and by what is drawn on them."""

import numpy as np
import pytest

from backend.errors import BadInput
from backend.masks.packed import KeptMask
from backend.registry.image_file import StoredImage
from backend.registry.metrics import SplitMetrics
from backend.review.images.learnt import EMPTY, choose_cards, list_cards, list_labels

SPLIT = SplitMetrics(learnt=("a", "b", "elsewhere"), held_out=("b", "c"))


def image(digest: str, *, task_id: int, label: str | None = "Disc") -> StoredImage:
    return StoredImage(
        task_id=task_id,
        image_uri="/a.png",
        image_sha256=digest,
        height_px=640,
        width_px=320,
        labels={} if label is None else {label: 1},
        masks=() if label is None else (KeptMask.of(np.ones((2, 2), bool)),),
    )


CARDS = list_cards(
    [
        image("c", task_id=3, label=None),
        image("a", task_id=10),
        image("b", task_id=2, label="Ring"),
        image("d", task_id=1),  # neither learnt from nor measured on
    ],
    SPLIT,
)


def chosen(**query: str) -> list[int | str | None]:
    return [card.image.task_id for card in choose_cards(CARDS, **{"side": "", "label": "", **query})]


def test_images_come_by_task_and_by_side() -> None:
    assert chosen() == [2, 3, 10]
    assert chosen(side="learnt") == [2, 10]
    assert chosen(side="held-out") == [2, 3]
    with pytest.raises(BadInput, match="'left' is none of learnt, held-out"):
        chosen(side="left")


def test_images_come_by_label_and_those_that_were_submitted_empty_too() -> None:
    assert list_labels(CARDS) == ["Disc", "Ring", EMPTY]
    assert chosen(label="Ring") == [2]
    assert chosen(label=EMPTY) == [3]


def test_outlines_are_drawn_in_the_view_of_the_card() -> None:
    assert CARDS[0].view == (160, 320)
    assert CARDS[0].outlines() == "M0 0H2M0 2H2M0 0V2M2 0V2"
    assert CARDS[1].outlines() == ""
