"""What every command shares: how it fails, and that asking for help waits for nothing."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli.console import Lines, find_program, print_json, report_plainly, setup_logging, show, write_time
from backend.errors import NotFound
from backend.ids import LARGEST_PROJECT_ID

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("fastapi", "numpy", "redis", "requests", "scipy", "shapely", "torch", "transformers", "uvicorn")
HELP = f"""
import sys
from backend.__main__ import main
sys.argv = ["samloop", "--help"]
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_help_imports_nothing_that_takes_long() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_of_ours_is_one_sentence_and_status_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, report_plainly():
        raise NotFound("there is no [version] 3")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "samloop: there is no [version] 3\n"


def test_control_c_ends_with_the_shells_status() -> None:
    with pytest.raises(SystemExit) as ended, report_plainly():
        raise KeyboardInterrupt
    assert ended.value.code == 130


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), report_plainly():
        raise KeyError("a bug")


def test_another_missing_package_is_a_bug() -> None:
    with pytest.raises(ImportError, match="shapely"), report_plainly():
        raise ImportError("No module named 'shapely'")


def test_a_torchvision_for_another_pytorch_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    done = subprocess.run(
        [sys.executable, "-m", "backend", "weights"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("samloop: torchvision does not fit PyTorch ")
    assert done.stderr.endswith("or run `pip uninstall torchvision timm`; only edgetam needs them\n")


def test_what_rq_says_every_few_seconds_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("info")
    worker = logging.getLogger("rq.worker")
    worker.info("Worker %s: cleaning group registries", "a1")
    worker.info("Worker %s: cleaning registries for queue: %s", "a1", "samloop")
    worker.info("*** Listening on %s...", "samloop")
    assert [line.partition("rq.worker: ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "*** Listening on samloop..."
    ]


def test_json_is_one_line_and_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, None]})
    show({"b": 2}, as_json=True, table=lambda: pytest.fail("nobody asked for a table"))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"a": [1, None]}, {"b": 2}]
    show({"b": 2}, as_json=False, table=lambda: sys.stdout.write("a table\n"))
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize("command", ["versions", "train", "warm", "refresh"])
@pytest.mark.parametrize("project", ["0", "-1", "x", str(LARGEST_PROJECT_ID + 1)])
def test_a_number_that_no_project_has_is_refused_before_anything_is_asked(command: str, project: str) -> None:
    done = CliRunner().invoke(app, [command, "--project", project])
    assert done.exit_code == 2
    assert "--project" in done.output


def test_a_log_of_json_is_an_object_a_line_with_what_the_event_carries(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        setup_logging("info", as_json=True)
        try:
            int("a bug")
        except ValueError:
            logging.getLogger("samloop.test").exception("%d\nlines", 2, extra={"event": "click.refused", "task_id": 12})
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert {name: told[name] for name in ("level", "logger", "message", "event", "task_id")} == {
        "level": "error",
        "logger": "samloop.test",
        "message": "2\nlines",
        "event": "click.refused",
        "task_id": 12,
    }
    assert "ValueError: invalid literal" in told["error"]
    assert told["at"].endswith("+00:00")


def test_a_text_is_one_line_as_it_was_written_and_a_table_fits(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "a name from Label Studio, [bold]as [/it] stands[/bold], " + "and more words " * 20
    Lines().print(sentence)
    table = Table("name", "words")
    table.add_row("[/it]", "word " * 60)
    Lines().print(table)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == sentence
    assert max(map(len, rest)) <= 80
    assert any("[/it]" in line for line in rest)


def test_a_hint_names_the_program_as_it_was_typed_where_path_lacks_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/samloop", "train"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() == ".venv/bin/samloop"
    (tmp_path / "samloop").touch(mode=0o755)
    assert find_program() == "samloop"
    monkeypatch.setattr(sys, "argv", ["/x/backend/__main__.py"])
    assert find_program() == "samloop"


def test_a_time_is_local_and_has_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert write_time("2026-11-27T15:38:37+00:00") == "2026-11-28 00:38"
    finally:
        monkeypatch.undo()
        time.tzset()
