"""The table on choices of the recipe compares every choice with the default recipe on the same objects."""

from dataclasses import replace
from typing import Any

from benchmarks.choices import CHOICES, DEFAULT, VIEWS, table
from benchmarks.recipes import config_of


def _line(choice: str, *, click: float, box: float) -> dict[str, Any]:
    rows = [
        [digest, prompt, iou, iou - 0.1]
        for digest in ("a", "b", "c")
        for prompt, iou in (("point", click), ("box", box))
    ]
    return {"set": "nuclei", "choice": choice, "decodes": 3000, "commit": "abc1234", "rows": rows}


def test_a_row_has_the_difference_to_the_default_and_its_interval() -> None:
    rows = table([_line(DEFAULT, click=0.7, box=0.8), _line("no warm-up", click=0.75, box=0.79)]).splitlines()[2:4]
    assert rows[0] == "| nuclei | the default | 3000 | 0.700 | 0.600 | 0.800 | 0.700 |"
    assert rows[1].startswith("| nuclei | no warm-up | 3000 | 0.750 (+0.050 [+0.050, +0.050]) |")
    assert "| 0.790 (-0.010 [-0.010, -0.010]) |" in rows[1]


def test_every_choice_changes_the_default_recipe() -> None:
    default = config_of(["decodes=3000"])
    changed = [replace(default, **changes) for changes in CHOICES.values()]
    assert [choice for choice, config in zip(CHOICES, changed, strict=True) if config == default] == [DEFAULT]


def test_other_blocks_are_compared_with_their_first_choice() -> None:
    reference, other = VIEWS
    rows = table([_line(reference, click=0.7, box=0.8), _line(other, click=0.75, box=0.8)], against=reference)
    assert "| one view | 3000 | 0.700 |" in rows
    assert f"| {DEFAULT} | 3000 | 0.750 (+0.050 [+0.050, +0.050]) |" in rows
