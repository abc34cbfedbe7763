"""What a person reads before a training, and what the manifest keeps of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask, Region
from finetuner.data.sample import Sample
from finetuner.report.data import DataReport


def _object(side_px: int, label: str | None, *, more_px: int = 0) -> LabelledMask:
    mask = np.zeros((100, 120), bool)
    mask[:side_px, :side_px] = True
    mask[99, :more_px] = True
    return LabelledMask.of(mask, label=label)


def _sample(number: int, *objects: LabelledMask, is_ground_truth: bool = False) -> Sample:
    return Sample(
        image_sha256=f"{number:064x}", height_px=100, width_px=120, objects=objects, is_ground_truth=is_ground_truth
    )


@pytest.fixture
def report() -> DataReport:
    exclusions = Exclusions()
    exclusions.add("a region of type keypointlabels is not a mask", count=12, task=1)
    exclusions.add("the annotator skipped the task", task=2)
    samples = [
        _sample(1, _object(31, "Nucleus"), _object(96, "Nucleus"), is_ground_truth=True),
        _sample(2, _object(32, "Nucleus"), _object(10, None)),
        _sample(2, _object(95, "Debris")),
    ]
    return DataReport.of(samples, exclusions)


def test_objects_are_counted_by_label_and_by_size(report: DataReport) -> None:
    assert report.metrics().to_json() == {
        "images": 2,
        "objects": 5,
        "ground_truth_images": 1,
        "sizes": {"small": 2, "medium": 2, "large": 1},
        "labels": {
            "Nucleus": {"objects": 3, "images": 2, "median_area_px": 1024, "small": 1, "medium": 1, "large": 1},
            "(none)": {"objects": 1, "images": 1, "median_area_px": 100, "small": 1, "medium": 0, "large": 0},
            "Debris": {"objects": 1, "images": 1, "median_area_px": 9025, "small": 0, "medium": 1, "large": 0},
        },
        "left_out": [
            {"reason": "a region of type keypointlabels is not a mask", "count": 12},
            {"reason": "the annotator skipped the task", "count": 1},
        ],
        "empty_images": 0,
        "divided_regions": 0,
        "parts": 0,
    }
    json.dumps(report.metrics().to_json(), allow_nan=False)
    assert report.figures() == {
        "images": 2,
        "objects": 5,
        "labels": 3,
        "small": 2,
        "medium": 2,
        "large": 1,
        "left_out": 13,
    }


def test_regions_that_were_divided_are_told_with_the_setting_that_keeps_them_whole() -> None:
    parts = [replace(_object(20, "Nucleus"), region=Region(number=0, area_px=800)) for _ in range(2)]
    report = DataReport.of([_sample(1, *parts), _sample(2, *parts), _sample(3, _object(20, "Nucleus"))], Exclusions())
    assert (report.metrics().divided_regions, report.metrics().parts) == (2, 4)
    assert "2 regions hold several objects and were divided into 4 objects" in report.table()
    assert "SAMLOOP_MERGED_REGIONS=keep" in report.table()


def test_the_table_is_read_at_a_glance(report: DataReport) -> None:
    assert report.table().splitlines() == [
        "label    objects  images  small  medium  large  median px",
        "Nucleus        3       2      1       1      1       1024",
        "(none)         1       1      1       0      0        100",
        "Debris         1       1      0       1      0       9025",
        "all            5       2      2       2      1       1024",
        "ground truth on 1 of 2 images",
        "left out  12 x a region of type keypointlabels is not a mask",
        "left out   1 x the annotator skipped the task",
    ]


def test_nothing_at_all_is_reported_too() -> None:
    assert DataReport.of([], Exclusions()).table().splitlines()[1:] == [
        "all          0       0      0       0      0          0",
        "left out  nothing",
    ]


def test_a_project_of_many_and_long_labels_keeps_the_table_short() -> None:
    objects = [_object(10, f"label {number:03} " + "x" * 90 + "\n") for number in range(50)]
    report = DataReport.of([_sample(1, *objects)], Exclusions())
    lines = report.table().splitlines()
    assert len(lines) == 1 + 30 + 1 + 1 + 1
    assert lines[-3] == "... and 20 more labels"
    assert lines[-2].startswith("all ")
    assert max(map(len, lines)) < 100
    assert len(report.metrics().to_json()["labels"]) == 50


def test_the_borders_between_sizes_are_cocos() -> None:
    assert [_object(31, None, more_px=62).size, _object(31, None, more_px=63).size] == ["small", "medium"]
    assert [_object(95, None, more_px=120).size, _object(96, None).size] == ["medium", "large"]
    assert _object(31, None, more_px=63).area_px == 1024
