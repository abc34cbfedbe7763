"""Prompts lie where they say: points inside, background outside, boxes a little off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from backend.masks.prompt import Click, Prompt
from backend.sam.frame import SAM_FRAME
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.prompting import (
    absent_prompts,
    background_click,
    correct,
    corrective_click,
    farthest_inner_point,
    farthest_point,
    first_prompts,
    inner_point,
    jitter_box,
    mask_prompts,
)
from finetuner.data.sample import Sample
from finetuner.data.views import VIEWS, View

masks = hnp.arrays(bool, st.tuples(st.integers(1, 60), st.integers(1, 60))).filter(np.any)
seeds = st.integers(0, 2**32 - 1)


def _at(mask: np.ndarray, click: Click) -> bool:
    return bool(mask[int(click.y_px), int(click.x_px)])


@given(masks, seeds, st.booleans())
def test_points_lie_inside_the_object(mask: np.ndarray, seed: int, prefers_centre: bool) -> None:
    item = LabelledMask.of(mask, label=None)
    click = inner_point(item, prefers_centre=prefers_centre, rng=np.random.default_rng(seed))
    assert _at(mask, click)
    assert click.is_foreground
    assert _at(mask, farthest_inner_point(item))


@given(masks, seeds)
def test_a_background_click_lies_outside(mask: np.ndarray, seed: int) -> None:
    click = background_click(LabelledMask.of(mask, label=None), rng=np.random.default_rng(seed))
    if click is not None:
        assert not _at(mask, click)
        assert not click.is_foreground


def test_an_object_that_fills_the_image_has_no_background() -> None:
    item = LabelledMask.of(np.ones((5, 5), bool), label=None)
    assert background_click(item, rng=np.random.default_rng(0)) is None


@given(masks, masks, seeds, st.sampled_from(VIEWS))
def test_clicks_on_the_background_are_far_from_every_object_in_any_view(
    one: np.ndarray, other: np.ndarray, seed: int, view: View
) -> None:
    whole = np.zeros((200, 160), bool)
    whole[20 : 20 + one.shape[0], 10 : 10 + one.shape[1]] |= one
    whole[130 : 130 + other.shape[0], 95 : 95 + other.shape[1]] |= other
    objects = tuple(LabelledMask.of(whole * (np.arange(200)[:, None] // 100 == part), label=None) for part in (0, 1))
    sample = Sample(image_sha256="0" * 64, height_px=200, width_px=160, objects=objects)
    drawn = absent_prompts(sample, view=view, count=5, rng=np.random.default_rng(seed))
    near = view.mask(ndimage.maximum_filter(whole, size=2 * sample.band_px + 1))
    inside = view.mask(np.ones_like(whole))
    assert len(drawn) > 0 or view.extent < 1
    for prompt in drawn:
        (click,) = prompt.clicks
        assert click.is_foreground
        assert _at(inside, click)
        assert not _at(near, click)


def test_an_image_full_of_objects_has_no_click_on_the_background() -> None:
    stripes = np.tile(np.arange(100) % 5 == 2, (100, 1))
    sample = Sample(image_sha256="0" * 64, height_px=100, width_px=100, objects=(LabelledMask.of(stripes, label=None),))
    assert absent_prompts(sample, view=View(), count=9, rng=np.random.default_rng(0)) == ()


@given(masks, seeds)
def test_boxes_are_off_by_a_tenth_of_the_side_and_stay_on_the_image(mask: np.ndarray, seed: int) -> None:
    item = LabelledMask.of(mask, label=None)
    height_px, width_px = mask.shape
    true, box = item.box, jitter_box(item, config=TrainConfig(), frame=SAM_FRAME, rng=np.random.default_rng(seed))
    assert 0 <= box.x0_px < box.x1_px <= width_px
    assert 0 <= box.y0_px < box.y1_px <= height_px
    # One pixel is the least that a box is wide; there alone it may be moved further.
    for moved, edge, side in (
        (box.x0_px, true.x0_px, true.x1_px - true.x0_px),
        (box.x1_px, true.x1_px, true.x1_px - true.x0_px),
        (box.y0_px, true.y0_px, true.y1_px - true.y0_px),
        (box.y1_px, true.y1_px, true.y1_px - true.y0_px),
    ):
        assert abs(moved - edge) <= max(0.1 * side, 1.0)


def test_a_large_boxs_edges_move_by_at_most_20_pixels_of_the_canvas() -> None:
    item = LabelledMask.of(np.pad(np.ones((800, 1600), bool), 200), label=None)
    rng = np.random.default_rng(0)
    moved = [
        jitter_box(item, config=TrainConfig(), frame=SAM_FRAME, rng=rng).x0_px - item.box.x0_px for _ in range(300)
    ]
    assert 35 < max(map(abs, moved)) <= 20 * 2000 / 1024
    assert min(moved) < 0 < max(moved)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_config_says_how_many_boxes_there_are(share: float) -> None:
    items = [LabelledMask.of(np.ones((9, 9), bool), label=None)] * 4
    prompts = first_prompts(items, config=TrainConfig(box_share=share), frame=SAM_FRAME, rng=np.random.default_rng(0))
    assert [prompt.box is not None for prompt in prompts] == [bool(share)] * 4


def test_the_farthest_point_is_the_middle_of_the_largest_part() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:5, 2:5], mask[10:21, 20:31] = True, True
    assert farthest_point(mask) == Click(25.5, 15.5)
    with pytest.raises(ValueError, match="empty mask"):
        farthest_point(np.zeros((3, 3), bool))


@given(truth=masks, seed=seeds)
def test_a_corrective_click_is_where_distances_over_the_whole_picture_put_it(truth: np.ndarray, seed: int) -> None:
    predicted = np.random.default_rng(seed).random(truth.shape) < 0.5
    wrong = {True: truth & ~predicted, False: predicted & ~truth}
    depth = {kind: ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for kind, mask in wrong.items()}
    click = corrective_click(predicted, truth)
    deepest = bool(depth[True].max() >= depth[False].max())
    if not wrong[deepest].any():
        assert click is None
        return
    row, column = np.unravel_index(int(depth[deepest].argmax()), truth.shape)
    assert click == Click(float(column) + 0.5, float(row) + 0.5, is_foreground=deepest)


def test_a_corrective_click_is_in_the_middle_of_the_deepest_wrong_region() -> None:
    truth = np.zeros((30, 40), bool)
    truth[5:16, 5:16] = True
    assert corrective_click(np.zeros_like(truth), truth) == Click(10.5, 10.5, is_foreground=True)
    too_much = truth.copy()
    too_much[5:12, 25:32] = True
    assert corrective_click(too_much, truth) == Click(28.5, 8.5, is_foreground=False)
    assert corrective_click(truth, truth) is None


@given(st.data(), seeds)
def test_corrections_add_a_click_where_something_is_missing_and_where_there_is_too_much(
    data: st.DataObject, seed: int
) -> None:
    shape = (256, 192)
    predicted, truth = np.zeros(shape, bool), np.zeros(shape, bool)
    predicted[data.draw(st.integers(0, 200)) :, :90] = True
    truth[data.draw(st.integers(0, 200)) :, 40:150] = True
    prompt = correct(
        Prompt(clicks=(Click(1.0, 1.0),)),
        predicted=predicted,
        truth=truth,
        frame=SAM_FRAME,
        height_px=512,
        width_px=384,
        rng=np.random.default_rng(seed),
    )
    first, *added = prompt.clicks
    assert first == Click(1.0, 1.0)
    assert len(added) == 2
    for click in added:
        row, column = int(click.y_px / 2), int(click.x_px / 2)
        assert truth[row, column] == click.is_foreground
        assert predicted[row, column] != click.is_foreground


def test_a_right_mask_gets_no_correction() -> None:
    truth = np.ones((256, 256), bool)
    prompt = Prompt(clicks=(Click(1.0, 1.0),))
    rng = np.random.default_rng(0)
    assert (
        correct(prompt, predicted=truth, truth=truth, frame=SAM_FRAME, height_px=256, width_px=256, rng=rng) == prompt
    )


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_a_mask_to_refine_is_wrong_a_little_and_its_clicks_say_where(sample: Sample, seed: int) -> None:
    """As serving shows one: +10 and -10 on the decoder's grid, nothing in the padding, with a box."""
    prompts, shown = mask_prompts(
        sample.objects, config=TrainConfig(), frame=SAM_FRAME, rng=np.random.default_rng(seed)
    )
    assert shown.shape == (len(sample.objects), 256, 256)
    assert set(np.unique(shown)) == {-10.0, 10.0}
    for prompt, logits, item in zip(prompts, shown, sample.objects, strict=True):
        truth = grid_coverage(item, frame=SAM_FRAME) > 0.5
        rows, columns = truth.shape
        assert (logits[rows:] < 0).all()
        assert (logits[:, columns:] < 0).all()
        mask = logits[:rows, :columns] > 0
        assert (mask & truth).sum() / (mask | truth).sum() > 0.5
        assert prompt.box is not None
        for click in prompt.clicks:
            row, column = (int(px * 256 / max(item.height_px, item.width_px)) for px in (click.y_px, click.x_px))
            assert truth[row, column] == click.is_foreground != mask[row, column]
