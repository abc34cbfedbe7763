"""Masks without prompts: every object once, in bounds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.automatic import AutomaticRules, Rivals, automatic_masks, grid
from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Candidate, Predictor, encode

RULES = AutomaticRules(points=8)
SQUARE = Embedding(features=torch.zeros(1, 1, 1, 1), height_px=512, width_px=512)


def square(*, top: int, left: int, side: int, score: float = 0.9) -> Candidate:
    """Cells of the canvas: two pixels of a 512 px image."""
    logits = torch.full((256, 256), -8.0)
    logits[top : top + side, left : left + side] = 8.0
    return Candidate(logits, predicted_iou=score, stability=1.0)


class Sees(Predictor):
    """A predictor that gives every click the same candidates."""

    def candidates(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, which: Callable[[Prompt], Sequence[int]]
    ) -> tuple[tuple[Candidate, ...], ...]:
        return tuple(WHAT_IS_SEEN for _ in prompts)


WHAT_IS_SEEN: tuple[Candidate, ...] = ()


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch, tiny_base: BaseModel) -> Callable[..., list[int]]:
    """`areas(candidates, **rules)`: the areas in px of the masks that come out."""

    def find(*candidates: Candidate, **rules: float) -> list[int]:
        monkeypatch.setitem(globals(), "WHAT_IS_SEEN", candidates)
        predictor = Sees(tiny_base, decoder_of(tiny_base, None), version="sees")
        found = automatic_masks(predictor, SQUARE, rules=replace(RULES, **rules))
        return [int(proposal.mask.sum()) for proposal in found]

    return find


def test_an_object_that_every_click_finds_comes_out_once(areas: Callable[..., list[int]]) -> None:
    assert areas(square(top=10, left=10, side=20)) == [40 * 40]


def test_objects_apart_all_come_out_the_best_first(areas: Callable[..., list[int]]) -> None:
    found = areas(square(top=10, left=10, side=20, score=0.8), square(top=60, left=60, side=30, score=0.9))

    assert found == [60 * 60, 40 * 40]


def test_of_a_part_and_its_whole_the_better_one_is_kept(areas: Callable[..., list[int]]) -> None:
    part, whole = square(top=10, left=10, side=10, score=0.8), square(top=5, left=5, side=40, score=0.9)

    assert areas(part, whole) == [80 * 80]
    assert areas(replace(part, predicted_iou=0.95), whole) == [20 * 20]


def test_what_overlaps_a_little_is_another_object(areas: Callable[..., list[int]]) -> None:
    assert len(areas(square(top=10, left=10, side=20), square(top=25, left=25, side=20, score=0.8))) == 2


@pytest.mark.parametrize(
    "candidate",
    [
        square(top=10, left=10, side=20, score=0.7),
        square(top=10, left=10, side=2),
        square(top=0, left=0, side=200),
    ],
    ids=["a low score", "a speck", "the ground"],
)
def test_what_is_no_object_is_left_out(areas: Callable[..., list[int]], candidate: Candidate) -> None:
    assert areas(candidate) == []


def test_no_more_come_out_than_are_wanted(areas: Callable[..., list[int]]) -> None:
    many = [square(top=12 * row, left=12 * column, side=9) for row in range(8) for column in range(8)]

    assert len(areas(*many)) == 64
    assert len(areas(*many, most=10)) == 10


def test_nothing_comes_out_where_nothing_stands_out(areas: Callable[..., list[int]]) -> None:
    assert areas() == []


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 5000), width=st.integers(1, 5000), points=st.integers(1, 32))
def test_clicks_lie_in_the_image_as_dense_on_both_sides(height: int, width: int, points: int) -> None:
    clicks = list(grid(replace(SQUARE, height_px=height, width_px=width), points=points))

    assert all(0 < click.x_px < width and 0 < click.y_px < height for click in clicks)
    rows, columns = len({click.y_px for click in clicks}), len({click.x_px for click in clicks})
    assert len(clicks) == rows * columns <= points * points
    assert max(rows, columns) == points


def test_after_the_deadline_what_was_found_comes_out(tiny_base: BaseModel) -> None:
    predictor = Predictor(tiny_base, decoder_of(tiny_base, None), version="tiny")
    ran: list[int] = []

    def run(work: Callable[[], Rivals]) -> Rivals:
        ran.append(1)
        return work()

    embedding = encode(tiny_base, Image.new("RGB", (64, 64), "teal"))
    automatic_masks(predictor, embedding, rules=RULES, until_s=time.monotonic() - 1, run=run)
    assert not ran
    automatic_masks(predictor, embedding, rules=RULES, run=run)
    assert len(ran) == 4


@pytest.mark.weights
def test_most_bricks_of_a_photograph_are_found_and_little_else(mobile_base: BaseModel) -> None:
    import io

    from backend.cli.demo.photographs import sample_photographs

    photograph = next(sample for sample in sample_photographs() if sample.name.startswith("bricks"))
    predictor = Predictor(mobile_base, decoder_of(mobile_base, None), version="mobile-sam")
    embedding = encode(mobile_base, Image.open(io.BytesIO(photograph.png)).convert("RGB"))

    found = automatic_masks(predictor, embedding, rules=AutomaticRules(points=8))

    best = [max((iou(proposal.mask, item.mask) for proposal in found), default=0.0) for item in photograph.objects]
    assert np.mean([share > 0.5 for share in best]) > 0.6
    assert len(found) <= 2 * len(photograph.objects)
