"""What a person reads on the terminal while a training runs."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from backend.commands import queue
from backend.commands.learning import print_progress

TABLE = "label    objects\nNucleus      387"


def test_a_table_stands_on_its_own_below_the_line_of_its_phase(capsys: pytest.CaptureFixture[str]) -> None:
    print_progress("checking", images=40, table=TABLE)
    print_progress("training", loss=0.25)
    assert capsys.readouterr().err.splitlines() == [
        "checking    40 images", "label    objects", "Nucleus      387", "training    loss 0.250",
    ]  # fmt: skip


def test_whoever_follows_a_queued_training_sees_the_table_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(phase: str, progress: Mapping[str, Any]) -> Any:
        return SimpleNamespace(phase=phase, progress=progress, error=None, verdict={"reason": "it is better"})

    seen = iter(
        [status("queued", {}), *(status("training", {"epoch": epoch, "table": TABLE}) for epoch in (1, 2)),
         status("idle", {})]
    )  # fmt: skip
    monkeypatch.setattr(queue.time, "sleep", lambda _: None)
    queue._follow(SimpleNamespace(status=lambda _: next(seen)), 7)
    told = capsys.readouterr()
    assert told.err.count("Nucleus      387") == 1
    assert told.out == "it is better\n"
