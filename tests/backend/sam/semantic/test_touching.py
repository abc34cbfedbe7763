"""Touching objects: patches with a neck are shown to the decoder, and divided where it sees several objects."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.pictures import draw_greys

from backend.masks.metrics import iou
from backend.masks.prompt import Click, Prompt
from backend.sam.family import NO_OBJECT
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Candidate, Predictor, encode
from backend.sam.semantic.objects import SemanticMaps, SemanticRules, semantic_masks
from backend.sam.semantic.touching import draw_with, find_middles, split_touching

ROWS, COLUMNS = np.mgrid[:192, :256].astype(np.float32)
LEFT, RIGHT = (90.0, 80.0, 20.0), (90.0, 114.0, 18.0)  # they melt in a neck 18 cells wide
FAR = (150.0, 200.0, 25.0)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """A margin that falls evenly from the middle, zero on the rim; in cells."""
    return (radius - np.hypot(ROWS + 0.5 - row, COLUMNS + 0.5 - column)).clip(-8, 8)


def patches(*discs: tuple[float, float, float]) -> np.ndarray:
    numbers, _ = ndimage.label(np.max([disc(*place) for place in discs], axis=0) > 0)
    return numbers


class Sees:
    """Stands in for a decoder that shows, for a click, the best of these objects that it is on."""

    def __init__(self, *objects: np.ndarray) -> None:
        self.objects, self.places = objects, list[tuple[int, int]]()

    def __call__(self, places: Sequence[tuple[int, int]]) -> list[Candidate]:
        self.places += places
        shown = [max(self.objects, key=lambda candidate, at=place: candidate[at]) for place in places]
        return [Candidate(torch.from_numpy(np.pad(mask, ((0, 64), (0, 0)))), 0.9, 0.9) for mask in shown]


def test_of_two_melted_objects_each_gets_its_own_number_and_others_keep_theirs() -> None:
    melted = patches(LEFT, RIGHT, FAR)
    assert melted.max() == 2
    found = split_touching(melted, neck=0.85, ask=Sees(disc(*LEFT), disc(*RIGHT)))
    assert np.array_equal(found > 0, melted > 0)
    (far,) = np.unique(found[patches(FAR) > 0])
    assert far == melted[150, 200]
    for circle in (LEFT, RIGHT):
        own = found == found[int(circle[0]), int(circle[1])]
        assert iou(own, disc(*circle) > 0) > 0.9
    assert len(np.unique(found)) == 4


def test_an_object_with_a_waist_stays_whole_when_either_click_shows_all_of_it() -> None:
    waisted = patches(LEFT, RIGHT)
    decoder = Sees(np.maximum(disc(*LEFT), disc(*RIGHT)))
    assert np.array_equal(split_touching(waisted, neck=0.85, ask=decoder), waisted)
    assert len(decoder.places) == 2


def test_a_patch_stays_whole_where_the_decoder_sees_no_object() -> None:
    melted = patches(LEFT, RIGHT)
    nothing = np.full_like(disc(*LEFT), NO_OBJECT)
    assert np.array_equal(split_touching(melted, neck=0.85, ask=Sees(nothing)), melted)


def test_a_part_within_its_whole_does_not_divide_it() -> None:
    whole = np.maximum(disc(*LEFT), disc(*RIGHT))
    part = np.where(disc(RIGHT[0], RIGHT[1], 10.0) > 0, np.float32(20), np.float32(-20))
    assert split_touching(patches(LEFT, RIGHT), neck=0.85, ask=Sees(whole, part)).max() == 1


@pytest.mark.parametrize("shape", [[LEFT], [LEFT, FAR], [LEFT, (90.0, 84.0, 20.0)], [(90.0, 80.0, 400.0)]])
def test_what_has_no_neck_costs_no_click(shape: list[tuple[float, float, float]]) -> None:
    decoder = Sees(disc(*LEFT))
    assert np.array_equal(split_touching(patches(*shape), neck=0.85, ask=decoder), patches(*shape))
    assert decoder.places == []


def test_the_middles_are_of_the_parts_and_how_narrow_a_neck_must_be_is_a_rule() -> None:
    ((number, found),) = find_middles(patches(LEFT, RIGHT), neck=0.85).items()
    assert number == 1
    assert np.hypot(*np.subtract(found, [LEFT[:2], RIGHT[:2]]).T).max() < 3
    assert [len(middles) for middles in find_middles(patches(LEFT, RIGHT), neck=0.3).values()] == [1]


def test_more_parts_than_may_be_asked_about_cost_no_click_but_other_patches_do() -> None:
    chain = [(row, 6.0 + 6.0 * number, 3.2) for row in (20.0, 26.0) for number in range(40)]
    decoder = Sees(disc(*LEFT), disc(*RIGHT))
    split_touching(patches(*chain, (150.0, 80.0, 20.0), (150.0, 114.0, 18.0)), neck=1.0, ask=decoder)
    assert len(decoder.places) == 2
    assert all(row > 100 for row, _ in decoder.places)


@given(seed=st.integers(0, 10_000), neck=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_whatever_the_decoder_shows_no_cell_is_lost_won_or_given_to_another_patch(seed: int, neck: float) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 3)
    numbers, _ = ndimage.label(smooth > rng.uniform(-0.05, 0.05))

    def ask(places: Sequence[tuple[int, int]]) -> list[Candidate]:
        maps = ndimage.gaussian_filter(rng.normal(size=(len(places), 256, 256)), (0, 3, 3)).astype(np.float32)
        return [Candidate(torch.from_numpy(logits), float(rng.random()), float(rng.random())) for logits in maps]

    found = split_touching(numbers, neck=neck, ask=ask)
    assert np.array_equal(found > 0, numbers > 0)
    for number in np.unique(found[found > 0]):
        assert len(np.unique(numbers[found == number])) == 1


def test_divided_objects_share_no_pixel_of_the_image_and_leave_none_between_them() -> None:
    margin = np.maximum(disc(*LEFT), disc(*RIGHT)).astype(np.float32)
    maps = SemanticMaps(("a",), margin[None], 1 / (1 + np.exp(-margin[None])), frame=SAM_FRAME)
    size = {"height_px": 768, "width_px": 1024}
    ((_, melted),) = semantic_masks(maps, rules=SemanticRules(), **size)
    (_, one), (_, other) = semantic_masks(maps, rules=SemanticRules(), ask=Sees(disc(*LEFT), disc(*RIGHT)), **size)
    assert not (one.mask & other.mask).any()
    assert iou(one.mask | other.mask, melted.mask) > 0.99


def test_the_decoder_is_asked_by_one_click_in_the_middle_of_a_cell(tiny_base: BaseModel) -> None:
    predictor = Predictor(tiny_base, decoder_of(tiny_base, None), version="tiny")
    embedding = encode(tiny_base, draw_greys(512, 300))  # a cell is 2 px
    places = [(row, 3 * row) for row in range(20)]
    runs = []

    def run(work):  # noqa: ANN001, ANN202
        runs.append(work)
        return work()

    found = draw_with(predictor, embedding, run=run)(places)
    prompts = [Prompt(clicks=(Click(6.0 * row + 1, 2.0 * row + 1),)) for row in range(20)]
    expected = predictor.decode(embedding, prompts)
    assert len(runs) == 2, "sixteen at a time"
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.logits.numpy(), other.low_res_logits)
