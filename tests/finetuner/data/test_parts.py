"""Regions with all objects of a label are divided where that is the rule of a project, and nowhere else."""

from collections.abc import Sequence

import numpy as np
import pytest

from backend.sam.frame import SAM_FRAME
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask, Region
from finetuner.data.parts import divide_merged, find_merged_labels
from finetuner.data.sample import Sample
from finetuner.data.views import View
from finetuner.semantic.targets import target_of


def region(*boxes: tuple[int, int, int], label: str | None = "Nucleus") -> LabelledMask:
    """A region of squares, by row, column and side."""
    mask = np.zeros((96, 128), bool)
    for row, column, side in boxes:
        mask[row : row + side, column : column + side] = True
    return LabelledMask.of(mask, label=label)


def sample(number: int, *objects: LabelledMask) -> Sample:
    return Sample(image_sha256=f"{number:064x}", height_px=96, width_px=128, objects=objects, task_id=number)


MERGED = region((2, 2, 10), (20, 20, 12), (50, 60, 9))
WHOLE = region((40, 40, 14))
SPLIT_BY_A_POST = region((5, 5, 12), (5, 30, 12))


def divided(samples: Sequence[Sample]) -> tuple[list[list[int]], str]:
    exclusions = Exclusions()
    found = divide_merged(samples, min_object_px=2, exclusions=exclusions)
    return [[item.area_px for item in sample.objects] for sample in found], exclusions.sentence()


def test_regions_of_all_objects_become_those_objects_which_know_their_region() -> None:
    samples = divide_merged([sample(1, MERGED), sample(2, MERGED)], min_object_px=2, exclusions=Exclusions())
    assert [item.area_px for item in samples[0].objects] == [100, 144, 81]
    assert {item.region for item in samples[0].objects} == {Region(number=0, area_px=325)}
    union = np.logical_or.reduce([item.mask for item in samples[0].objects])
    assert (union == MERGED.mask).all()


def test_a_part_in_a_view_knows_its_region_still() -> None:
    (first, *_), _ = (
        s.objects for s in divide_merged([sample(1, MERGED)] * 2, min_object_px=2, exclusions=Exclusions())
    )
    seen = View(is_mirrored=True).item(first)
    assert seen is not None
    assert seen.region == first.region


@pytest.mark.parametrize(
    "samples",
    [
        [sample(1, MERGED), sample(2, WHOLE), sample(3, WHOLE), sample(4, WHOLE)],  # one image is no rule
        [sample(n, SPLIT_BY_A_POST if n < 2 else WHOLE) for n in range(7)],  # 2 of 7 cars
        [sample(n, SPLIT_BY_A_POST, WHOLE, region((70, 70, 9))) for n in range(4)],  # beside others drawn apart
    ],
)
def test_where_regions_are_objects_as_a_rule_they_stay_whole(samples: list[Sample]) -> None:
    assert find_merged_labels(samples) == frozenset()
    assert divide_merged(samples, min_object_px=2, exclusions=Exclusions()) == samples


def test_a_project_that_merged_half_of_its_images_is_divided_there_alone() -> None:
    apart = [region((2, 2, 10)), region((20, 20, 12)), region((50, 60, 9))]
    areas, _ = divided([sample(1, MERGED), sample(2, MERGED), sample(3, *apart), sample(4, *apart)])
    assert areas == [[100, 144, 81]] * 4


def test_labels_are_judged_by_themselves() -> None:
    fence = region((5, 5, 12), (5, 40, 12), label="Fence")
    samples = [sample(n, MERGED, fence if n == 1 else region((60, 5, 9), label="Fence")) for n in range(5)]
    assert find_merged_labels(samples) == {"Nucleus"}


def test_specks_beside_the_parts_are_left_out_with_a_reason() -> None:
    specked = region((2, 2, 20), (40, 40, 18), (90, 120, 1))
    areas, reasons = divided([sample(1, specked), sample(2, specked)])
    assert areas == [[400, 324]] * 2
    assert reasons == "2 x a speck beside the parts of a region with several objects"


def test_strokes_beside_an_object_do_not_make_it_several() -> None:
    stray = region((2, 2, 30), (60, 60, 3))
    assert find_merged_labels([sample(1, stray), sample(2, stray)]) == frozenset()


def test_the_semantic_head_sees_the_region_where_it_lies_over_smaller_objects() -> None:
    over = region((0, 0, 11), label="Tissue")  # smaller than the region, larger than its first part
    samples = [sample(n, MERGED, over) for n in range(2)]
    whole = target_of(samples[0], labels=("Nucleus", "Tissue"), frame=SAM_FRAME)
    parts = divide_merged(samples, min_object_px=2, exclusions=Exclusions())
    assert np.allclose(
        target_of(parts[0], labels=("Nucleus", "Tissue"), frame=SAM_FRAME).shares, whole.shares, atol=1e-6
    )
