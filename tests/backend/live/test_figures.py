"""Sums grow and shrink with what counts, and show its means."""

import pytest

from backend.live.figures import VersionSums
from backend.live.lines import ComparedMask


def mask(iou: float, *, label: str = "Coin", untouched: bool = False) -> ComparedMask:
    return ComparedMask(version="v1", label=label, iou=iou, boundary_iou=iou / 2, untouched=untouched)


def test_figures_are_means_over_masks_and_over_annotations() -> None:
    sums = VersionSums()
    sums.count(1, [mask(1.0, untouched=True), mask(0.5, label="Key")], lead_s=4.0, sign=1)
    sums.count(2, [mask(0.0)], lead_s=None, sign=1)
    figures = sums.figures()
    assert (figures.n, figures.annotations, figures.lead_time_s) == (3, 2, 4.0)
    assert (figures.iou, figures.boundary_iou) == (0.5, 0.25)
    assert figures.untouched == pytest.approx(1 / 3, abs=1e-6)
    assert (figures.labels["Coin"].n, figures.labels["Key"].iou) == (2, 0.5)


def test_what_is_taken_out_leaves_the_figures_as_they_were() -> None:
    sums = VersionSums()
    sums.count(1, [mask(0.8)], lead_s=2.0, sign=1)
    before = sums.figures()
    sums.count(2, [mask(0.1, label="Key")], lead_s=9.0, sign=1)
    sums.count(2, [mask(0.1, label="Key")], lead_s=9.0, sign=-1)
    assert sums.figures() == before


def test_the_moving_mean_moves_by_a_tenth_of_the_way_an_annotation() -> None:
    sums = VersionSums()
    for number, iou in enumerate((0.0, 1.0, 1.0)):
        sums.count(number, [mask(iou)], lead_s=None, sign=1)
    assert sums.figures().boundary_iou_ema == pytest.approx(0.5 * 0.19)
