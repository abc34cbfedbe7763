"""`samloop demo`: its last line is its outcome, and its status tells whether a better model is served."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli.demo import story
from backend.cli.demo.sets import SETS


@pytest.mark.parametrize(("promoted", "status"), [(True, 0), (False, 1)])
def test_the_whole_loop_ends_with_its_outcome(promoted: bool, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def run(_: object, **options: object) -> Any:
        told.update(options)
        return SimpleNamespace(promoted=promoted, to_json=lambda: {"promoted": promoted})

    monkeypatch.setattr(story, "run_demo", run)
    done = CliRunner().invoke(app, ["demo", "--once", "--port", "0"])
    assert done.exit_code == status
    assert json.loads(done.stdout.splitlines()[-1]) == {"promoted": promoted}
    assert told == {
        "sample": SETS["nuclei"],
        "once": True,
        "port": 0,
        "label_studio_port": 8080,
        "directory": None,
    }


def test_a_demo_that_people_ended_says_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "run_demo", lambda *_, **__: None)
    done = CliRunner().invoke(app, ["demo"])
    assert (done.exit_code, done.stdout) == (0, "")
