"""What the story does when things go wrong: it ends with a sentence, and it does not claim what it has not seen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.ml_backend import ml_backend
from fakes.studio_setup import StudioSetup
from support.clock import HandClock

from backend.cli.demo import story
from backend.cli.demo.nuclei import NUCLEI
from backend.cli.demo.project import AskedMask
from backend.errors import SamloopError, Unavailable

FIGURES = {"iou": 0.5, "boundary_iou": 0.25}
REPORT = {"point": FIGURES, "box": FIGURES}


class House:
    """Tells one status after another; the last for ever."""

    def __init__(self, *statuses: dict) -> None:
        self._statuses = list(statuses)
        self.log_path = Path("/tmp/samloop.log")

    def status(self, project_id: int) -> dict:
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]


def _status(**changes: object) -> dict:
    return {
        "served": {"version": "base", "number": 0, "since": None},
        "phase": "training",
        "progress": {},
        "verdict": None,
        "error": None,
        "refused": {},
    } | changes


def narrate() -> story._Narrator:
    """A narrator whose pauses take no time."""
    clock = HandClock()
    return story._Narrator(clock=clock, sleep=clock.advance)


def test_the_demos_project_leads_to_its_review_page(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeLabelStudio() as studio, ml_backend() as (url, _):
        client = StudioSetup(studio.url, studio.token)
        house = SimpleNamespace(client=client, url=url, basic_auth=None)
        project_id, _, tasks = story._set_up(house, narrate(), sample=NUCLEI, waiting=6)  # type: ignore[arg-type]  # no process
        assert f"{url}/review/1" in str(client.project(project_id)["description"])
    assert (project_id, len(tasks)) == (1, 24)
    assert "24 images uploaded, 18 annotated" in capsys.readouterr().err


def test_progress_is_told_once_a_phase_and_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    house = House(
        _status(phase="queued"),
        _status(progress={"phase": "embedding", "done": 1}),
        _status(progress={"phase": "embedding", "done": 2}),
        _status(progress={"phase": "training", "epoch": 1, "epochs": 9, "loss": 0.5}),
        _status(progress={"phase": "training", "epoch": 1, "epochs": 9, "loss": 0.4}),
        _status(phase="idle", verdict={"promoted": True}),
    )
    assert story._follow(house, 1, narrate())["verdict"] == {"promoted": True}
    told = [line.partition("s] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == ["queued", "Embedding the images", "Learning masks from prompts, epoch 1 of 9, loss 0.500"]


def test_a_training_that_failed_ends_the_story_with_its_sentence() -> None:
    house = House(_status(), _status(phase="failed", error="no annotation holds a mask"))
    with pytest.raises(SamloopError, match=r"the training failed: no annotation holds a mask; see /tmp/samloop.log"):
        story._follow(house, 1, narrate())


def test_a_training_that_hangs_ends_the_story() -> None:
    with pytest.raises(Unavailable, match="has been in phase 'queued' without a change for 300 s"):
        story._follow(House(_status(phase="queued")), 1, narrate())


def test_a_promoted_version_that_is_not_served_is_told_with_the_reason() -> None:
    house = House(_status(refused={"v1": "a digest differs"}))
    with pytest.raises(Unavailable, match=r"v1 was promoted, but base is still served .* a digest differs"):
        story._await_swap(house, 1, "v1", narrate())


def test_the_swap_is_timed_from_the_promotion() -> None:
    since = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    house = House(_status(), _status(served={"version": "v1", "number": 1, "since": since}))
    assert 2 <= story._await_swap(house, 1, "v1", narrate()) < 10


def test_masks_of_another_version_than_promised_are_an_error() -> None:
    base, new = AskedMask("base", 0.5, 0.5), AskedMask("v1", 0.9, 0.9)
    story._check_served([base], [new], base_version="base", version="v1")
    with pytest.raises(SamloopError, match="Label Studio got masks of"):
        story._check_served([base, base], [new, base], base_version="base", version="v1")


def test_the_refresh_is_waited_for_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    idle = {"phase": "idle", "error": None, "last": None}
    old, new = ({"version": version, "reason": f"2 tasks got {version}"} for version in ("base", "v1"))
    house = House(
        _status(refresh=idle | {"last": old}),
        _status(refresh=idle | {"phase": "refreshing", "last": old}),
        _status(refresh=idle | {"last": new}),
    )
    story._await_refresh(house, 1, "v1", narrate())
    assert "refreshed: 2 tasks got v1" in capsys.readouterr().err


def test_a_refresh_that_fails_or_hangs_ends_the_story() -> None:
    refresh = {"phase": "failed", "error": "Label Studio cannot be reached", "last": None}
    with pytest.raises(SamloopError, match=r"the refresh failed: Label Studio cannot be reached; see /tmp/samloop.log"):
        story._await_refresh(House(_status(refresh=refresh)), 1, "v1", narrate())
    with pytest.raises(Unavailable, match="the refresh has made no progress for 300 s"):
        story._await_refresh(House(_status(refresh=refresh | {"error": None})), 1, "v1", narrate())


def test_a_refresh_that_did_not_reach_label_studio_is_an_error() -> None:
    class Client:
        shown, holds = "v1", [(7, "v1"), (8, "v1"), (8, "base")]

        def project(self, project_id: int) -> dict:
            return {"model_version": self.shown}

        def predictions(self, *, project_id: int) -> list[dict]:
            return [{"task": task, "model_version": version} for task, version in self.holds]

    class Task:
        def __init__(self, task_id: int) -> None:
            self.task_id = task_id

    house = House(_status())
    house.client = Client()
    story._check_refreshed(house, 1, [Task(7), Task(8)], version="v1")
    house.client.holds = [(7, "v1"), (7, "v1")]
    with pytest.raises(SamloopError, match=r"shows v1 and holds v1 on tasks \[7, 7\]"):
        story._check_refreshed(house, 1, [Task(7), Task(8)], version="v1")
    house.client.shown = "samloop"
    with pytest.raises(SamloopError, match="Label Studio shows samloop"):
        story._check_refreshed(house, 1, [Task(7)], version="v1")


def test_the_outcome_is_the_line_that_scripts_read() -> None:
    outcome = story.DemoOutcome(
        project=3,
        base_version="base",
        version="v1",
        promoted=True,
        evaluation={"base": REPORT},
        seconds={"train": 1.234, "swap": 0.5, "total": 9.99},
    )
    assert outcome.to_json() == {
        "project": 3,
        "base_version": "base",
        "version": "v1",
        "promoted": True,
        "evaluation": {"base": REPORT},
        "seconds": {"train": 1.2, "swap": 0.5, "total": 10.0},
    }


def test_a_candidate_that_was_not_promoted_is_told_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = {"promoted": False, "version": "v1", "reason": "no sure gain"}
    evaluation = {"images": 4, "objects": 9, "base": REPORT, "candidate": REPORT}
    story._tell_verdict(verdict, evaluation, narrate())
    told = capsys.readouterr().err
    assert "not promoted: v1: no sure gain" in told
    assert "held out: 4 images, 9 objects" in told
    assert "one box: IoU 0.500 -> 0.500, Boundary IoU 0.250 -> 0.250" in told


def test_a_temporary_folder_outlives_an_error_and_not_a_success(tmp_path: Path) -> None:
    with story._folder(None, temporary=True) as kept:
        assert kept.is_dir()
    assert not kept.exists()
    with story._folder(tmp_path, temporary=True) as given:
        assert given == tmp_path
    assert tmp_path.is_dir()
