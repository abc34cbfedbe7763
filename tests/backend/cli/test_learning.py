"""What a person reads on the terminal while a training runs."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from backend.cli import learning
from backend.cli.learning import print_progress
from backend.errors import BadInput
from backend.registry.figures import Evaluation

TABLE = "label    objects\nNucleus      387"


def test_a_table_stands_on_its_own_below_the_line_of_its_phase(capsys: pytest.CaptureFixture[str]) -> None:
    print_progress("checking", images=40, table=TABLE)
    print_progress("training", loss=0.25)
    assert capsys.readouterr().err.splitlines() == [
        "checking    40 images",
        "label    objects",
        "Nucleus      387",
        "training    loss 0.250",
    ]


def _report(iou: float, **more: object) -> dict[str, Any]:
    measures = dict.fromkeys(("iou", "boundary_iou", "over_area", "under_area", "hd95_px"), iou)
    return {"box": measures, "point": measures, **more}


def _differences(mean: float) -> dict[str, Any]:
    interval = [mean, mean - 0.01, mean + 0.01]
    names = ("iou", "boundary_iou", "over_area", "under_area", "hd95_px")
    return {prompt: dict.fromkeys(names, interval) for prompt in ("box", "point")}


@pytest.mark.parametrize("champion", [False, True])
def test_the_table_of_evaluate_compares_with_the_champion_too(
    champion: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "out", Console(width=160))
    told = {
        "images": 9,
        "objects": 90,
        "base": _report(0.5),
        "candidate": _report(0.7, semantic={"iou": 0.61}),
        "difference": _differences(0.2),
        "note": "as told",
        **({"served": _report(0.6), "difference_to_served": _differences(0.1)} if champion else {"served": None}),
    }
    learning._print_report(Evaluation.model_validate(told))
    shown = capsys.readouterr().out
    assert "90 held-out objects on 9 images" in shown
    assert "+0.200 [+0.190, +0.210]" in shown
    assert ("champion" in shown) == ("+0.100 [+0.090, +0.110]" in shown) == ("0.600" in shown) == champion
    assert "without a prompt, candidate: IoU 0.610 over labels" in shown
    assert "as told" in shown


def test_the_table_of_the_base_alone_has_no_difference(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "out", Console(width=160))
    told = {"images": 2, "objects": 4, "base": _report(0.5), "candidate": None, "difference": None, "note": None}
    learning._print_report(Evaluation.model_validate(told))
    assert "95 %" not in capsys.readouterr().out


def test_a_checkpoint_is_never_overwritten_and_that_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="is not empty, and nothing is ever overwritten: name a folder"):
        learning.train(export=tmp_path / "no export", images=tmp_path, out_dir=tmp_path)
    with pytest.raises(BadInput, match=r"cannot be written: .*manifest\.json is no folder"):
        learning.train(export=tmp_path / "no export", images=tmp_path, out_dir=tmp_path / "manifest.json" / "out")
    assert (tmp_path / "manifest.json").read_text() == "{}"
