"""Held-out masks: those that pass the filters, in the order asked for."""

import pytest
from support.review_objects import draw_square, review_object

from backend.errors import BadInput
from backend.review.flags import Flag
from backend.review.masks.cards import cards
from backend.review.masks.choosing import check_query, choose_cards, sort_cards
from backend.review.visitor import MasksQuery

OBJECTS = [
    review_object("up", base=0.2, candidate=0.8, score=0.9),
    review_object("same", base=0.5, candidate=0.5, score=0.1, task_id=12, label="Ring"),
    review_object("down", base=0.9, candidate=0.3, score=0.6, human_mask=draw_square(100, 100, 20)),
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("tightened", ["up", "same", "down"]),
        ("worsened", ["down", "same", "up"]),
        ("uncertain", ["same", "down", "up"]),
        ("disagreeing", ["down", "same", "up"]),
        ("iou", ["down", "same", "up"]),
        ("best", ["up", "same", "down"]),
    ],
)
def test_masks_come_in_the_order_asked_for(sort: str, expected: list[str]) -> None:
    found = cards(OBJECTS, prompt="box", against=None, flags=(), analyst="Ada")
    assert [card.item.key for card in sort_cards(found, sort=sort)] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {"up", "same", "down"}),
        ({"label": "Ring"}, {"same"}),
        ({"task": " 12 "}, {"same"}),
        ({"task": "2"}, set()),
        ({"size": "small"}, {"down"}),
        ({"size": "medium"}, {"up", "same"}),
        ({"size": "large"}, set()),
        ({"score": "low"}, {"same"}),
        ({"score": "middle"}, {"down"}),
        ({"score": "high"}, {"up"}),
        ({"flag": "wrong"}, {"up"}),
        ({"flag": "note"}, {"down"}),
        ({"size": "medium", "score": "high"}, {"up"}),
    ],
)
def test_a_mask_is_shown_if_it_passes_every_filter(filters: dict[str, str], expected: set[str]) -> None:
    shared = {"at": "", "version": "v", "prompt": "box", "task_id": "1", "label": "", "analyst": "Ada"}
    flags = [
        Flag(**shared, key="up", verdict="wrong"),
        Flag(**shared, key="down", verdict="none", note="two cells"),
    ]
    found = cards(OBJECTS, prompt="box", against=None, flags=flags, analyst="Ada")
    assert {card.item.key for card in choose_cards(found, MasksQuery(**filters))} == expected


@pytest.mark.parametrize("field", ["prompt", "sort", "size", "score"])
def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(field: str) -> None:
    with pytest.raises(BadInput, match=rf"the {field} 'huge' is not one of \w+"):
        check_query(MasksQuery(**{field: "huge"}))
