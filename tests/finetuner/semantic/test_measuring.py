"""Figures of a semantic head, by hand on cases that can be counted."""

import pytest

from finetuner.semantic.measuring import LabelOnImage, semantic_report


def found(label: str, both: int, over: int, under: int, *, boundary: float = 0.5, image: str = "0") -> LabelOnImage:
    return LabelOnImage(
        image_sha256=image, label=label, both_px=both, over_px=over, under_px=under, boundary_iou=boundary, hd95_px=2.0
    )


def test_a_labels_areas_are_counted_over_all_images_together_and_the_mean_is_over_labels() -> None:
    report = semantic_report(
        [found("a", 80, 10, 10), found("a", 10, 0, 90, boundary=0.1, image="1"), found("b", 50, 50, 0)]
    )
    assert report is not None
    first, second = report.labels["a"], report.labels["b"]
    assert first.iou == pytest.approx(90 / 200)
    assert first.dice == pytest.approx(2 * 90 / (90 + 10 + 190))
    assert (first.over_area, first.under_area) == (pytest.approx(10 / 190), pytest.approx(100 / 190))
    assert first.boundary_iou == pytest.approx(0.3)
    assert second.iou == pytest.approx(0.5)
    assert report.mean.iou == pytest.approx((90 / 200 + 0.5) / 2)
    assert (first.n, report.mean.n) == (2, 3)


def test_what_a_head_sees_on_images_without_it_costs_the_label() -> None:
    report = semantic_report([found("a", 100, 0, 0), found("a", 0, 100, 0, boundary=0.0, image="1")])
    assert report is not None
    assert report.labels["a"].iou == pytest.approx(0.5)


def test_a_label_that_nobody_drew_here_has_no_figures() -> None:
    report = semantic_report([found("a", 100, 0, 0), found("b", 0, 30, 0)])
    assert report is not None
    assert list(report.labels) == ["a"]
    assert semantic_report([found("b", 0, 30, 0)]) is None
    assert semantic_report([]) is None
