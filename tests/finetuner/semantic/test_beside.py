"""A semantic head is served where it is fit to be, and says so in words."""

import pytest

from backend.registry.figures import MaskFigures
from backend.registry.metrics import SemanticReport
from backend.sam.loading import BaseModel, new_head
from finetuner.semantic.beside import FLOOR, Semantic


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
    assert semantic.sentence == "the semantic head is not served: none of its labels is drawn on a held-out image"


def test_the_manifest_keeps_labels_figures_and_whether_it_is_served(tiny_base: BaseModel) -> None:
    semantic = _semantic(tiny_base, 0.75, 0.25)
    metrics = semantic.metrics()
    assert (metrics.labels, metrics.is_served, metrics.floor) == (("label 0", "label 1"), True, FLOOR)
    assert (metrics.steps, metrics.seconds, metrics.held_out) == (7, 1.3, semantic.report)
