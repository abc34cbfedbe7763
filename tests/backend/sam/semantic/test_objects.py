"""From maps to objects: one for every connected patch and label, at the image's resolution."""

import numpy as np
import pytest

from backend.masks.metrics import iou
from backend.sam.frame import SAM_FRAME
from backend.sam.semantic.objects import SemanticMaps, SemanticRules, semantic_masks

RULES = SemanticRules(most=10, least_area=0.001, least_score=0.0)
ROWS, COLUMNS = np.mgrid[:192, :256].astype(np.float32)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """A margin that falls evenly from the middle, zero on the rim; in cells."""
    return (radius - np.hypot(ROWS + 0.5 - row, COLUMNS + 0.5 - column)).clip(-8, 8)


def maps(**margins: np.ndarray) -> SemanticMaps:
    stacked = np.stack(list(margins.values())).astype(np.float32)
    return SemanticMaps(tuple(margins), stacked, 1 / (1 + np.exp(-stacked)), frame=SAM_FRAME)


def on_image(margin: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Where a disc is on an image, by its formula and not by its cells."""
    rows, columns = np.mgrid[:height_px, :width_px]
    scale = width_px / 256
    row, column, radius = margin
    return np.hypot((rows + 0.5) / scale - row, (columns + 0.5) / scale - column) < radius


def test_each_connected_patch_of_each_label_is_an_object_as_fine_as_the_image() -> None:
    first, second, third = (60.0, 60.0, 20.0), (120.0, 180.0, 30.0), (50.0, 200.0, 12.0)
    found = semantic_masks(
        maps(a=np.maximum(disc(*first), disc(*second)), b=disc(*third)), height_px=768, width_px=1024, rules=RULES
    )
    assert sorted(label for label, _ in found) == ["a", "a", "b"]
    for circle in (first, second, third):
        truth = on_image(circle, 768, 1024)
        assert max(iou(item.mask, truth) for _, item in found) > 0.99
    assert all(0 < item.score <= 1 for _, item in found)


def test_neighbours_of_two_labels_share_no_pixel_and_leave_none_between_them() -> None:
    left = np.where(COLUMNS < 128, np.float32(3), np.float32(-3))
    found = dict(semantic_masks(maps(a=left, b=-left), height_px=600, width_px=800, rules=RULES))
    assert not (found["a"].mask & found["b"].mask).any()
    assert (found["a"].mask | found["b"].mask).all()


def test_an_object_at_the_images_border_reaches_it() -> None:
    (only,) = semantic_masks(maps(a=disc(192.0, 256.0, 40.0)), height_px=600, width_px=800, rules=RULES)
    assert only[1].mask[-1, -1]
    assert only[1].mask[-1].sum() == pytest.approx(125, abs=4)  # 40 cells of 800/256 px


def test_two_objects_close_to_each_other_stay_two_and_keep_their_edges() -> None:
    near = np.maximum(disc(90.0, 80.0, 20.0), disc(90.0, 122.0, 20.0))  # two cells between them
    found = semantic_masks(maps(a=near), height_px=768, width_px=1024, rules=RULES)
    assert len(found) == 2
    assert not (found[0][1].mask & found[1][1].mask).any()
    assert min(max(iou(item.mask, on_image((90.0, x, 20.0), 768, 1024)) for _, item in found) for x in (80, 122)) > 0.97


def test_specks_are_left_out_and_of_many_objects_the_best_are_kept() -> None:
    sure, unsure = disc(60.0, 60.0, 20.0), np.minimum(disc(120.0, 180.0, 30.0), 0.2)
    margin = np.maximum(np.maximum(sure, unsure), disc(20.0, 20.0, 1.5))
    everything = semantic_masks(maps(a=margin), height_px=768, width_px=1024, rules=RULES)
    assert len(everything) == 2
    assert everything[0][1].score > everything[1][1].score
    one = SemanticRules(most=1, least_area=0.001, least_score=0.0)
    ((_, best),) = semantic_masks(maps(a=margin), height_px=768, width_px=1024, rules=one)
    assert best.score == everything[0][1].score


def test_an_image_without_anything_has_no_objects() -> None:
    assert semantic_masks(maps(a=disc(0.0, 0.0, -50.0)), height_px=30, width_px=40, rules=RULES) == ()


def test_a_patch_that_the_head_hardly_sees_is_no_object() -> None:
    faint = np.where(disc(40, 60, 20) > 0, 0.05, -8.0)  # half sure, and gone at the slightest change
    seen = maps(Cell=np.maximum(disc(130, 180, 30), faint))
    found = semantic_masks(seen, height_px=192, width_px=256, rules=SemanticRules())
    assert len(found) == 1
    assert found[0][1].mask[130, 180]
    everything = semantic_masks(seen, height_px=192, width_px=256, rules=SemanticRules(least_score=0.0))
    assert len(everything) == 2
