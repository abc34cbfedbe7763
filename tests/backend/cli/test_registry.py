"""`samloop versions`, `promote` and `rollback` on a real registry."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.checkpoints import make_manifest
from support.commands import run_samloop

from backend.registry.figures import MaskFigures, ModelFigures
from backend.registry.local import LocalRegistry
from backend.registry.metrics import CheckpointMetrics, Verdict

Samloop = Callable[..., CompletedProcess[str]]


@pytest.fixture
def samloop(tmp_path: Path) -> Samloop:
    def run(*words: str) -> CompletedProcess[str]:
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "COLUMNS": "160",
            "MODEL_DIR": str(tmp_path / "models"),
        }
        return run_samloop(*words, environ=environ)

    return run


@pytest.fixture
def published(tmp_path: Path) -> list[str]:
    registry = LocalRegistry(tmp_path / "models")
    manifest = make_manifest(project_id=3, base_fingerprint="0" * 64)
    return [registry.publish(3, weights=bytes([n]) * 64, manifest=manifest).version for n in range(2)]


def test_versions_lists_the_line_and_marks_what_is_served(samloop: Samloop, published: list[str]) -> None:
    assert samloop("promote", published[1], "--project", "3", "--reason", "looked best").returncode == 0
    listed = json.loads(samloop("versions", "--project", "3", "--json").stdout)
    assert [row["version"] for row in listed["versions"]] == published
    assert listed["served"] == published[1]
    assert published[0].removeprefix("mobile-sam-p3-") in samloop("versions", "--project", "3").stdout


def test_versions_shows_short_names_figures_and_verdicts(samloop: Samloop, tmp_path: Path) -> None:
    figures = ModelFigures(point=MaskFigures(iou=0.7251), box=MaskFigures(iou=0.8302))
    verdict = Verdict(promote=False, reasons=("box is not better",))
    registry = LocalRegistry(tmp_path / "models")
    manifest = make_manifest(
        project_id=3, base_fingerprint="0" * 64, verdict=verdict, metrics=CheckpointMetrics(candidate=figures)
    )
    version = registry.publish(3, weights=b"w" * 64, manifest=manifest).version
    short = version.removeprefix("mobile-sam-p3-")

    said = samloop("versions", "--project", "3").stdout
    assert all(text in said for text in (short, "0.725", "0.830", "box is not better")), said
    (row,) = json.loads(samloop("versions", "--project", "3", "--json").stdout)["versions"]
    assert (row["short"], row["figures"]["box"]["iou"]) == (short, 0.8302)


def test_rollback_without_a_version_goes_back_one_decision(samloop: Samloop, published: list[str]) -> None:
    for version in published:
        samloop("promote", version, "--project", "3")
    back = json.loads(samloop("rollback", "--project", "3", "--json").stdout)
    assert (back["version"], back["number"]) == (published[0], 3)
    assert json.loads(samloop("rollback", "base", "--project", "3", "--json").stdout)["version"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("promote", "mobile-sam-p3-v9-000000", "--project", "3"), "there is no version"),
        (("promote", "../../etc/passwd", "--project", "3"), "is not the name of a version"),
        (("rollback", "--project", "3"), "nothing to roll back to"),
        (("train", "--export", "nowhere.json"), "nowhere.json"),
        (("train",), "--project N"),
        (("serve",), "REDIS_URL is not set"),
        (("up", "--host", "0.0.0.0"), "BASIC_AUTH_USER"),
        (("connect", "--project", "1"), "LABEL_STUDIO_URL"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_traceback(samloop: Samloop, words: tuple[str, ...], says: str) -> None:
    done = samloop(*words)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_tells_what_is_missing_and_ends_with_one(samloop: Samloop) -> None:
    done = samloop("doctor")
    assert done.returncode == 1
    assert "LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set here: set both" in done.stdout
    assert "samloop up" in done.stdout
    assert "Traceback" not in done.stderr
