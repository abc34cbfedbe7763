"""A semantic head is served where it is fit to be, and says so in words."""

from dataclasses import replace

import pytest

from backend.registry.figures import Interval, MaskFigures
from backend.registry.metrics import SemanticReport
from backend.sam.loading import BaseModel, new_head
from finetuner.semantic.beside import FLOOR, Semantic
from finetuner.semantic.judging import HeadVerdict


def _semantic(base: BaseModel, *ious: float) -> Semantic:
    labels = {f"label {number}": MaskFigures(iou=iou) for number, iou in enumerate(ious)}
    report = SemanticReport(mean=MaskFigures(iou=sum(ious) / len(ious)), labels=labels) if ious else None
    return Semantic(head=new_head(base, labels=tuple(labels) or (None,)), report=report, steps=7, seconds=1.26)


@pytest.mark.parametrize(("iou", "is_served"), [(FLOOR, True), (FLOOR - 0.01, False)])
def test_a_head_is_served_from_the_floor_on(tiny_base: BaseModel, iou: float, is_served: bool) -> None:
    semantic = _semantic(tiny_base, iou)
    assert semantic.is_served == is_served
    assert ("it goes with this version" in semantic.sentence) == is_served
    assert ("is below 0.500" in semantic.sentence) == (not is_served)
    assert f"mean IoU {iou:.3f} over 1 label on held-out images" in semantic.sentence


def test_a_head_that_nobody_could_measure_is_not_served(tiny_base: BaseModel) -> None:
    semantic = _semantic(tiny_base)
    assert not semantic.is_served
    assert semantic.mean is None
    assert semantic.sentence == "the semantic head is not promoted: none of its labels is drawn on a held-out image"


def test_the_manifest_keeps_labels_figures_and_whether_it_is_served(tiny_base: BaseModel) -> None:
    semantic = _semantic(tiny_base, 0.75, 0.25)
    metrics = semantic.metrics()
    assert (metrics.labels, metrics.is_served, metrics.floor) == (("label 0", "label 1"), True, FLOOR)
    assert (metrics.steps, metrics.seconds, metrics.held_out) == (7, 1.3, semantic.report)


def test_a_head_that_may_be_worse_than_what_it_replaces_is_not_served(tiny_base: BaseModel) -> None:
    worse = HeadVerdict(against="v1's head", differences={"iou": Interval(-0.05, -0.08, -0.02)})
    semantic = replace(_semantic(tiny_base, 0.9), verdict=worse)
    assert (semantic.is_served, semantic.is_gain) == (False, False)
    assert "but it may be worse than what it would replace; against v1's head" in semantic.sentence


@pytest.mark.parametrize(("iou", "is_gain"), [(0.9, True), (FLOOR - 0.1, False)])
def test_a_certain_gain_above_the_floor_is_promoted_alone(tiny_base: BaseModel, iou: float, is_gain: bool) -> None:
    better = HeadVerdict(against="an empty answer", differences={"iou": Interval(0.4, 0.3, 0.5)})
    semantic = replace(_semantic(tiny_base, iou), verdict=better)
    assert semantic.is_gain == is_gain
    assert "IoU +0.400 [+0.300, +0.500]" in semantic.sentence or not is_gain
    assert (semantic.metrics().against, semantic.metrics().difference) == ("an empty answer", better.differences)
