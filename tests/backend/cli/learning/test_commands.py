"""What a person reads on the terminal after a training, and what is refused before it."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli.learning import commands as learning
from backend.errors import BadInput
from backend.registry.figures import Evaluation
from backend.registry.metrics import Verdict


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
    learning.print_report(Evaluation.model_validate(told))
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
    learning.print_report(Evaluation.model_validate(told))
    assert "95 %" not in capsys.readouterr().out


def test_the_steps_that_may_follow_a_training_are_commands_that_run_as_they_are_printed() -> None:
    steps = learning.name_next_steps(
        Path("my export.json"), Path("images"), Path("a b"), version="tiny-offline-1a2b3c", verdict=Verdict()
    )
    (measure,) = [line.partition(":")[2] for line in steps if "samloop evaluate" in line]
    called = CliRunner().invoke(app, [*shlex.split(measure)[1:], "--help"])
    assert called.exit_code == 0
    assert shlex.split(measure)[2:] == ["--export", "my export.json", "--images", "images", "--checkpoint", "a b"]
    assert any(line.endswith("SAMLOOP_MODEL='a b' samloop up") for line in steps)


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Verdict(promote=True, reasons=("box +0.017 (better)", "x")), "better: box +0.017 (better)"),
        (Verdict(reasons=("no certain gain over tiny", "x")), "serve it by itself: no certain gain over tiny"),
        (Verdict(), "not judged"),
    ],
)
def test_a_training_offline_ends_with_its_verdict_before_it_says_how_to_serve(verdict: Verdict, says: str) -> None:
    steps = learning.name_next_steps(Path("e"), Path("i"), Path("c"), version="tiny-offline-1a2b3c", verdict=verdict)
    (told,) = [number for number, step in enumerate(steps) if step.startswith("the verdict: ")]
    assert steps[told].endswith(says)
    assert steps[told + 1 :][-1].startswith("serve it:")


def test_a_checkpoint_is_never_overwritten_and_that_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="is not empty, and nothing is ever overwritten: name a folder"):
        learning.train(export=tmp_path / "no export", images=tmp_path, out_dir=tmp_path)
    with pytest.raises(BadInput, match=r"cannot be written: .*manifest\.json is no folder"):
        learning.train(export=tmp_path / "no export", images=tmp_path, out_dir=tmp_path / "manifest.json" / "out")
    assert (tmp_path / "manifest.json").read_text() == "{}"


def test_an_option_that_a_training_of_a_project_would_ignore_is_refused_by_its_name() -> None:
    done = CliRunner().invoke(
        app, ["train", "--project", "1", "--method", "lora", "--seed", "0", "--label-config", __file__]
    )
    assert isinstance(done.exception, BadInput)
    assert str(done.exception).startswith("--method, --seed, --label-config cannot be used with --project: ")
