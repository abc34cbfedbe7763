"""Held-out masks in the order asked for, and the part of an edge that is worst."""

import numpy as np
import pytest

from backend.masks.packed import KeptMask
from backend.registry.review_file import DrawnMask, ReviewedObject
from backend.review.cards import cards, edge_window, sort_cards
from backend.review.flags import Flag


def _square(y: int, x: int, side: int) -> np.ndarray:
    mask = np.zeros((300, 400), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def _object(
    key: str, *, base: float, candidate: float, score: float = 0.5, drawn: np.ndarray | None = None
) -> ReviewedObject:
    human = KeptMask.of(_square(100, 100, 80))
    masks = {"base": human, "candidate": human if drawn is None else KeptMask.of(drawn)}
    values = {"base": base, "candidate": candidate}
    return ReviewedObject(
        key=key,
        task_id=1,
        image_uri="/data/upload/1/a.png",
        image_sha256="a" * 64,
        label="Disc",
        window=(80, 80, 140, 140),
        human=human,
        drawn={
            (prompt, model): DrawnMask(
                iou=values[model],
                boundary_iou=values[model],
                over_px=0,
                under_px=0,
                score=score,
                predicted_iou=0.9,
                mask=masks[model],
            )
            for prompt in ("box", "point")
            for model in ("base", "candidate")
        },
    )


OBJECTS = [
    _object("up", base=0.2, candidate=0.8, score=0.9),
    _object("same", base=0.5, candidate=0.5, score=0.1),
    _object("down", base=0.9, candidate=0.3, score=0.6),
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("tightened", ["up", "same", "down"]),
        ("worsened", ["down", "same", "up"]),
        ("uncertain", ["same", "down", "up"]),
        ("disagreeing", ["down", "same", "up"]),
    ],
)
def test_masks_come_in_the_order_asked_for(sort: str, expected: list[str]) -> None:
    found = cards(OBJECTS, prompt="box", against=None, flags=(), analyst="Ada")
    assert [card.item.key for card in sort_cards(found, sort=sort)] == expected


def test_another_version_is_paired_by_object_and_what_it_did_not_draw_comes_last() -> None:
    other = {"down": _object("down", base=0.0, candidate=0.1), "same": _object("same", base=0.0, candidate=0.9)}
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
    assert (up.mine, up.votes["wrong"], up.votes["accept"]) == ("wrong", 1, 1)
    assert same.mine is None


def test_the_edge_that_is_shown_is_where_most_is_wrong() -> None:
    drawn = _square(100, 100, 80) | _square(150, 170, 30)
    (card,) = cards(
        [_object("x", base=0.5, candidate=0.5, drawn=drawn)], prompt="box", against=None, flags=(), analyst=""
    )
    y0, x0, height, width = edge_window(card)
    assert y0 <= 165 < y0 + height
    assert x0 <= 190 < x0 + width
    assert (height, width) == (48, 48)
    (same,) = cards(OBJECTS[:1], prompt="box", against=None, flags=(), analyst="")
    assert edge_window(same) is None


@pytest.mark.parametrize(("measured", "is_suspicious"), [(0.9, False), (0.896, False), (0.85, False), (0.7, True)])
def test_a_measured_iou_that_reads_as_the_expected_is_no_suspicion(measured: float, is_suspicious: bool) -> None:
    seen = [_object("a", base=0.5, candidate=measured)]
    (card,) = cards(seen, prompt="box", against=None, flags=(), analyst="")
    assert card.is_suspicious is is_suspicious
