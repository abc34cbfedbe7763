"""The table at the end of a training and of an evaluation."""

import io
from typing import Literal

from rich.console import Console

from backend.cli.learning.results import draw_results
from backend.registry.figures import Comparison

_METRICS = ("iou", "boundary_iou", "over_area", "under_area", "hd95_px")


def _write(measured: Comparison, *, color_system: Literal["standard"] | None = None, **more: str) -> str:
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True, color_system=color_system).print(draw_results(measured, **more))
    return file.getvalue()


def _measured(**differences: object) -> Comparison:
    return Comparison.model_validate(
        {
            "images": 9,
            "objects": 90,
            **{
                name: {prompt: dict.fromkeys(_METRICS, value) for prompt in ("box", "point")}
                for name, value in (("base", 0.5), ("candidate", 0.7))
            },
            "difference": differences or None,
        }
    )


def test_every_prompt_and_measure_stands_with_both_models_and_the_interval_of_their_difference() -> None:
    shown = _write(_measured(box={"iou": [0.2, 0.19, 0.21]}, point={"iou": [-0.1, -0.2, -0.0001]}), candidate="trained")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert rows[0] == ["box", "IoU", "0.500", "0.700", "+0.200 [+0.190, +0.210]"]
    assert rows[1] == ["", "Boundary IoU", "0.500", "0.700", "not measured"]
    assert rows[5] == ["one click", "IoU", "0.500", "0.700", "-0.100 [-0.200, 0.000]"]
    assert "90 held-out objects on 9 images" in shown
    assert "trained" in shown
    assert "…" not in shown, "80 columns are enough"


def test_the_base_alone_has_no_difference() -> None:
    assert "95 %" not in _write(_measured())


def test_only_a_difference_whose_interval_leaves_zero_out_has_a_colour() -> None:
    colours = {"iou": [0.2, 0.1, 0.3], "boundary_iou": [0.1, -0.1, 0.3], "over_area": [0.2, 0.1, 0.3]}
    shown = _write(_measured(box=colours), color_system="standard")
    assert "\x1b[32m+0.200 [+0.100, +0.300]" in shown, "more of the IoU is better"
    assert "\x1b[31m+0.200 [+0.100, +0.300]" in shown, "more beyond the object is worse"
    assert "m+0.100 [-0.100, +0.300]" not in shown, "not told apart"
