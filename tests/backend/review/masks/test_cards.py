"""Held-out masks as cards: their pairs, their prompt, what was said of them, and the part of an edge that is worst."""

import pytest
from support.review_objects import draw_square, review_object

from backend.review.flags import Flag
from backend.review.masks.cards import cards, edge_window
from backend.review.masks.choosing import sort_cards

OBJECTS = [
    review_object("up", base=0.2, candidate=0.8, score=0.9),
    review_object("same", base=0.5, candidate=0.5, score=0.1),
    review_object("down", base=0.9, candidate=0.3, score=0.6),
]


def test_another_version_is_paired_by_object_and_what_it_did_not_draw_comes_last() -> None:
    other = {
        "down": review_object("down", base=0.0, candidate=0.1),
        "same": review_object("same", base=0.0, candidate=0.9),
    }
    found = sort_cards(cards(OBJECTS, prompt="point", against=other, flags=(), analyst="Ada"), sort="tightened")
    assert [(card.item.key, card.gain and round(card.gain, 3)) for card in found] == [
        ("down", 0.2),
        ("same", -0.4),
        ("up", None),
    ]
    assert found[-1].outlines().base == ""


def test_a_card_knows_what_was_said_of_its_mask_and_by_whom() -> None:
    said = [
        Flag(at="", version="v", key="up", prompt=prompt, task_id="", label="", analyst=analyst, verdict=verdict)
        for prompt, analyst, verdict in [("box", "Ada", "wrong"), ("box", "Bo", "accept"), ("point", "Ada", "accept")]
    ]
    up, same, _ = cards(OBJECTS, prompt="box", against=None, flags=said, analyst="Ada")
    assert up.mine is not None
    assert (up.mine.verdict, up.votes["wrong"], up.votes["accept"]) == ("wrong", 1, 1)
    assert same.mine is None


@pytest.mark.parametrize(
    ("prompt", "box", "click"), [("box", (20.0, 20.0, 80.0, 80.0), None), ("point", None, (59.5, 59.5))]
)
def test_the_prompt_is_drawn_where_it_was_given(
    prompt: str, box: tuple[float, ...] | None, click: tuple[float, float] | None
) -> None:
    (card,) = cards(OBJECTS[:1], prompt=prompt, against=None, flags=(), analyst="")
    lines = card.outlines(longest_px=140)
    assert (lines.box, lines.click) == (box, click), "in px of the view, which begins at 80, 80 of the image"
    half = card.outlines(longest_px=70)
    assert (half.box or half.click)[0] == pytest.approx((box or click)[0] / 2, abs=0.1)


def test_the_edge_that_is_shown_is_where_most_is_wrong() -> None:
    drawn = draw_square(100, 100, 80) | draw_square(150, 170, 30)
    (card,) = cards(
        [review_object("x", base=0.5, candidate=0.5, drawn=drawn)], prompt="box", against=None, flags=(), analyst=""
    )
    y0, x0, height, width = edge_window(card)
    assert y0 <= 165 < y0 + height
    assert x0 <= 190 < x0 + width
    assert (height, width) == (48, 48)
    (same,) = cards(OBJECTS[:1], prompt="box", against=None, flags=(), analyst="")
    assert edge_window(same) is None
