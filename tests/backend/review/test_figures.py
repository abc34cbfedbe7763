"""Versions as rows."""

import pytest
from support.checkpoints import make_manifest

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import CheckpointMetrics, Verdict
from backend.review.figures import number_of, version_rows


def manifest(
    number: int, *, iou: float | None = None, over_area: float | None = None, better: bool = False
) -> Manifest:
    figures = {"iou": iou, "boundary_iou": iou, "over_area": over_area}
    told = {name: value for name, value in figures.items() if value is not None}
    metrics = {"images": 4, "objects": 9, "candidate": {"box": told}} if told else {}
    return make_manifest(
        version=f"mobile-sam-p7-v{number}-0a1b2c",
        project_id=7,
        base_fingerprint="0" * 64,
        metrics=CheckpointMetrics.from_json(metrics),
        verdict=Verdict(promote=better, reasons=("tighter",)),
    )


def test_the_newest_version_comes_first_and_the_served_one_is_marked() -> None:
    rows = version_rows([manifest(1, iou=0.8), manifest(2, iou=0.9, better=True)], served=manifest(1).version)
    assert [(row.number, row.is_served, row.is_better) for row in rows] == [(2, False, True), (1, True, False)]
    assert (rows[0].images, rows[0].objects, rows[0].reasons) == (4, 9, ("tighter",))
    assert rows[0].figures["box"]["iou"].value == pytest.approx(0.9)


def test_a_version_without_figures_is_a_row_of_blanks() -> None:
    (row,) = version_rows([manifest(1)], served="")
    assert row.images is None
    assert {figure.value for figures in row.figures.values() for figure in figures.values()} == {None}


def test_a_versions_number_stands_in_its_name() -> None:
    assert number_of(manifest(12)) == 12
