"""Metrics read back as they were written, those of before there was a version too, and what is none is refused."""

import json
from typing import Any

import pytest

from backend.errors import BadCheckpoint
from backend.registry.calibration import Calibration
from backend.registry.figures import Interval, MaskFigures
from backend.registry.metrics import (
    MOST_LABELS,
    VERSION,
    CheckpointMetrics,
    EndedAt,
    LabelMetrics,
    LeftOut,
    SemanticMetrics,
    StartMetrics,
    TrainingPoint,
    TrainingSeconds,
)

M = {"iou": 0.5, "dice": 0.6, "boundary_iou": 0.4, "hd95_px": 2.5, "over_area": 0.2, "under_area": 0.1, "n": 4}
SCORES = {"n": 8, "ece": 0.05, "correlation": 0.3, "rank_correlation": None, "bins": [[8, 0.5, 0.45]]}
MODEL = {
    "box": M,
    "point": M,
    "clicks": {"0": 0.5, "1": 0.75},
    "clicks_to": {"0.85": {"clicks": 2.0, "reached": 0.25}},
    "labels": {"Disc": M, "(none)": M},
    "sizes": {"small": M},
    "calibration": {"predicted_iou": SCORES, "score": SCORES, "calibrated": None},
    "semantic": None,
}
INTERVALS = {"box": {"iou": [0.1, 0.05, 0.15]}, "point": {"iou": [None, None, None], "dice": [0.0, -0.1, 0.1]}}
ENDED_AT = {"epochs": 2, "steps": 12, "decodes": 28, "seconds": 0.7, "resumed": 1, "kept_step": None}
# As a manifest had them before the form had a version.
UNVERSIONED: dict[str, Any] = {
    "images": 2,
    "objects": 4,
    "base": MODEL,
    "candidate": {**MODEL, "semantic": M},
    "difference": INTERVALS,
    "served": None,
    "difference_to_served": None,
    "calibration": {"x": [-0.25, 1], "y": [0.0, 0.5]},
    "seconds": {"training": 0.7, "evaluating": 1.4},
    "memory_mib": 558,
    "processes": 1,
    "ended_at": ENDED_AT,
    "split": {
        "said": "6 images to learn from, 2 held out, chosen by their content",
        "train_images": 6,
        "train_objects": 12,
        "learnt": ["03cc", "578c"],
        "held_out": ["2ca2", "8bcd"],
        "held_out_by_floor": ["8bcd"],
        "near_duplicates": [["03cc", "578c"]],
        "folds": [{"held_out": ["2ca2", "8bcd"], "ended_at": ENDED_AT}],
    },
    "start": {"from": "mobile-sam", "why": "every training starts from the base"},
    "curves": {
        "training": [[4, 1.442, 1.4, 0.1], [8, 1.46, 1.4, 0.2]],
        "held_out": [{"step": 0, "loss": {"box": 1.4, "point": 1.5}, "iou": {"box": 0.06, "point": 0.07}}],
    },
    "data": {
        "images": 8,
        "objects": 16,
        "ground_truth_images": 1,
        "sizes": {"small": 16, "medium": 0, "large": 0},
        "labels": {
            "Disc": {"objects": 16, "images": 8, "median_area_px": 268, "small": 16, "medium": 0, "large": 0},
        },
        "left_out": [{"reason": "only a draft", "count": 3}],
    },
    "semantic": {
        "labels": ["Disc", "Ring"],
        "served": True,
        "floor": 0.5,
        "steps": 12,
        "seconds": 0.5,
        "held_out": {"mean": M, "labels": {"Disc": M, "Ring": M}},
    },
    "forgetting": {
        "images": 6,
        "objects": 46,
        "base": {"box": M, "point": M},
        "candidate": {"box": M, "point": M},
        "difference": {"box": {"iou": [-0.1, -0.2, 0.0]}, "point": {"iou": [0.0, 0.0, 0.0]}},
        "said": "On 6 unrelated photographs, IoU with the 46 masks that the base finds there by itself: as told.",
    },
}


def test_metrics_without_a_version_are_read_as_those_of_today() -> None:
    metrics = CheckpointMetrics.from_json(UNVERSIONED)
    assert metrics.candidate is not None
    assert metrics.candidate.with_prompt("box") == MaskFigures(**M)
    assert metrics.candidate.semantic == MaskFigures(**M)
    assert metrics.candidate.clicks == {0: 0.5, 1: 0.75}
    assert metrics.difference == {"box": {"iou": Interval(0.1, 0.05, 0.15)}, "point": {"dice": (0.0, -0.1, 0.1)}}
    assert metrics.calibration == Calibration((-0.25, 1.0), (0.0, 0.5))
    assert metrics.seconds == TrainingSeconds(training=0.7, evaluating=1.4)
    assert metrics.ended_at == EndedAt(epochs=2, steps=12, decodes=28, seconds=0.7, resumed=1)
    assert metrics.split is not None
    assert metrics.split.sentence.startswith("6 images to learn from")
    assert metrics.split.learnt == ("03cc", "578c")
    assert metrics.split.folds[0].ended_at == metrics.ended_at
    assert metrics.start == StartMetrics(version="mobile-sam", why="every training starts from the base")
    assert metrics.curves is not None
    assert metrics.curves.training[-1] == TrainingPoint(8, 1.46, 1.4, 0.2)
    assert metrics.curves.validation == ()
    assert metrics.data is not None
    assert metrics.data.labels["Disc"] == LabelMetrics(objects=16, images=8, median_area_px=268, small=16)
    assert metrics.data.left_out == (LeftOut(reason="only a draft", count=3),)
    assert metrics.semantic is not None
    assert metrics.semantic.is_served
    assert metrics.forgetting is not None
    assert metrics.forgetting.difference == {"box": {"iou": (-0.1, -0.2, 0.0)}, "point": {"iou": (0.0, 0.0, 0.0)}}


def test_what_is_written_has_a_version_and_the_names_of_before() -> None:
    """Scripts read manifests too: no name in the JSON may move."""
    written = json.loads(json.dumps(CheckpointMetrics.from_json(UNVERSIONED).to_json(), allow_nan=False))
    assert written["version"] == VERSION
    assert CheckpointMetrics.from_json(written) == CheckpointMetrics.from_json(UNVERSIONED)
    added = {
        "version": VERSION,
        "click_policy": None,
        "domain": None,
        "magnification": None,
        "semantic": {**UNVERSIONED["semantic"], "against": None, "difference": None, "is_alone": False},
        "curves": {**UNVERSIONED["curves"], "validation": []},
        "data": {**UNVERSIONED["data"], "empty_images": 0, "divided_regions": 0, "parts": 0},
    }
    later = {"mix": None, "views": None}
    ended_at = {**UNVERSIONED["ended_at"], **later}
    folds = [{**fold, "ended_at": {**fold["ended_at"], **later}} for fold in UNVERSIONED["split"]["folds"]]
    added |= {"ended_at": ended_at, "split": {**UNVERSIONED["split"], "folds": folds}}
    measured = {**INTERVALS, "point": {"dice": [0.0, -0.1, 0.1]}}
    assert written == {**UNVERSIONED, **added, "difference": measured}


def test_a_checkpoint_of_which_nothing_is_known_has_metrics_too() -> None:
    assert CheckpointMetrics.from_json({}) == CheckpointMetrics()
    assert set(CheckpointMetrics().to_json().values()) == {VERSION, None}


def test_what_a_later_version_adds_is_ignored() -> None:
    assert CheckpointMetrics.from_json({"images": 3, "weather": "fine"}) == CheckpointMetrics(images=3)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], r"metrics='\[\]'"),
        ({"version": VERSION + 1}, "the metrics are of version 2, but this samloop reads version 1: upgrade samloop"),
        ({"images": "many"}, "metrics.images='many'"),
        ({"split": {"learnt": [1]}}, "metrics.split.learnt.0='1'"),
        ({"calibration": []}, r"metrics.calibration='\[\]'"),
        ({"calibration": {"x": [0.1]}}, "metrics.calibration.y"),
        ({"calibration": {"x": [0.1], "y": ["a"]}}, "metrics.calibration.y.0='a'"),
        ({"calibration": {"x": [0.1], "y": [True]}}, "metrics.calibration.y.0='True'"),
        ({"calibration": {"x": [0.1, 0.1], "y": [0.1, 0.2]}}, "x must rise"),
        ({"semantic": 7}, "metrics.semantic='7'"),
        ({"semantic": {"labels": "Cell"}}, "metrics.semantic.labels='Cell'"),
        ({"semantic": {"labels": [1]}}, "metrics.semantic.labels.0='1'"),
    ],
)
def test_what_are_no_metrics_is_refused_with_its_place(value: object, why: str) -> None:
    with pytest.raises(BadCheckpoint, match=why):
        CheckpointMetrics.from_json(value)


@pytest.mark.parametrize("labels", [(), ("a", "a"), tuple(map(str, range(MOST_LABELS + 1)))])
def test_a_semantic_head_has_1_to_100_different_labels(labels: tuple[str, ...]) -> None:
    with pytest.raises(BadCheckpoint, match="1 to 100 labels, all different"):
        SemanticMetrics(labels=labels)
