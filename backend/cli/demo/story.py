"""Walks through the whole loop on a real Label Studio: unattended, or by a person's clicks."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.amounts import write_amount
from backend.cli.demo.guide import Guide
from backend.cli.demo.house import House
from backend.cli.demo.project import AskedMask, SampleTask, annotate, ask_for_mask, create_project, give_boxes
from backend.cli.demo.samples import SampleSet
from backend.cli.project import show_analysts
from backend.errors import SamloopError, Unavailable
from backend.labelstudio.api.predictions import PredictionStore
from backend.settings import Settings
from backend.work.progress import name_stage

WAITING_ONCE, _WAITING = 2, 6  # images without an annotation: for test clicks, and for a person to label
_STALL_S = 300.0  # a training whose status stays unchanged for this long hangs
_SWAP_S = 30.0
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """The result of `samloop demo --once`.

    Attributes:
        promoted: whether a better checkpoint was swapped in and Label Studio received a mask from it.
        evaluation: figures on held-out images, as `samloop evaluate --json` prints them.
        seconds: `train` from "Start training" to the verdict, `swap` from the promotion to the first answer of the new
            version, `total` from the start of the demo.
    """

    project: int
    base_version: str
    version: str | None
    promoted: bool
    evaluation: Mapping[str, Any]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, object]:
        """Return the last line that `samloop demo --once` prints."""
        return {
            "project": self.project,
            "base_version": self.base_version,
            "version": self.version,
            "promoted": self.promoted,
            "evaluation": dict(self.evaluation),
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }


def run_demo(  # noqa: PLR0913 - the command's options, by name
    settings: Settings,
    *,
    sample: SampleSet,
    once: bool,
    port: int,
    label_studio_port: int,
    directory: Path | None,
) -> DemoOutcome | None:
    """Run the demo. When this returns or raises, every process it started has been stopped by its id.

    Args:
        settings: the environment's settings.
        sample: the project's images; a folder with a project keeps that project's.
        once: run the loop unattended; otherwise everything stays up until Ctrl-C.
        port: the backend's port; 0: any free port.
        label_studio_port: Label Studio's port; 0: any free port.
        directory: the folder of all data; None: a new folder, removed after a successful unattended run.

    Returns:
        The unattended loop's result; None for a demo by hand.

    Raises:
        SamloopError: a program is missing, a process ended by itself, or a step took too long.
    """
    narrator = _Narrator()
    with _folder(directory, temporary=once) as folder:
        narrator.say(
            f"starting Label Studio and samloop (the first start takes a minute or two); all data goes to {folder}"
        )
        house = House(settings, directory=folder, port=port, label_studio_port=label_studio_port)
        with house:
            narrator.say(f"Label Studio is up on {house.label_studio.url}, the backend on {house.url}")
            if once:
                return _loop(house, narrator, sample=sample)
            try:
                _stay(house, narrator, sample=sample)
            except KeyboardInterrupt:
                narrator.say("stopping")
    narrator.say(f"stopped; `samloop demo --dir {folder}` continues from here")
    return None


class _Narrator:
    """Writes to stderr what happens, with the seconds since the start.

    Args:
        clock: returns the time, s.
        sleep: waits so many seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._began_s = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began_s

    def pause(self) -> None:
        """Wait until the next look."""
        self._sleep(_LOOK_S)

    def say(self, sentence: str) -> None:
        sys.stderr.write(f"[{self.seconds:5.0f} s] {sentence}\n")
        sys.stderr.flush()


@contextmanager
def _folder(directory: Path | None, *, temporary: bool) -> Iterator[Path]:
    if directory is not None:
        yield directory.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="samloop-demo-"))
    yield folder
    if temporary:  # an error keeps the folder, for its logs
        shutil.rmtree(folder, ignore_errors=True)


def _loop(house: House, narrator: _Narrator, *, sample: SampleSet) -> DemoOutcome:
    """Import, annotate, train, request the same mask before and after, and refresh the remaining images."""
    project_id, backend_id, tasks = _set_up(house, narrator, sample=sample, waiting=WAITING_ONCE)
    base_version = str(house.status(project_id)["served"]["version"])
    asked = tasks[-WAITING_ONCE:]
    give_boxes(PredictionStore(house.label_studio.url, house.label_studio.token, project_id=project_id), asked)
    before = [_ask(house, backend_id, task, narrator) for task in asked]
    house.client.backends.start_training(backend_id)
    narrator.say("pressed Start Training in Label Studio")
    pressed_s = narrator.seconds
    status = _follow(house, project_id, narrator)
    train_s, verdict = narrator.seconds - pressed_s, status["verdict"]
    evaluation = verdict.get("evaluation") or {}
    _tell_verdict(verdict, evaluation, narrator)
    swap_s = 0.0
    if verdict["promoted"]:
        swap_s = _await_swap(house, project_id, str(verdict["version"]), narrator)
        after = [_ask(house, backend_id, task, narrator) for task in asked]
        _check_served(before, after, base_version=base_version, version=str(verdict["version"]))
        _await_refresh(house, project_id, str(verdict["version"]), narrator)
        _check_refreshed(house, project_id, asked, version=str(verdict["version"]))
    return DemoOutcome(
        project=project_id,
        base_version=base_version,
        version=verdict["version"],
        promoted=bool(verdict["promoted"]),
        evaluation=evaluation,
        seconds={"train": train_s, "swap": swap_s, "total": narrator.seconds},
    )


def _set_up(
    house: House, narrator: _Narrator, *, sample: SampleSet, waiting: int
) -> tuple[int, int, tuple[SampleTask, ...]]:
    """Set up project and backend, and annotate all images but the last `waiting`; return both ids and the tasks."""
    project_id, tasks = create_project(house.client, sample)
    for task in tasks[:-waiting]:
        annotate(house.client, task)
    objects = sum(len(task.image.objects) for task in tasks[:-waiting])
    narrator.say(
        f"project {project_id}: {write_amount(len(tasks), 'image')} uploaded, {len(tasks) - waiting} annotated "
        f"({write_amount(objects, 'object')})"
    )
    backend_id = house.client.backends.connect(project_id, url=house.url, title="samloop", basic_auth=house.basic_auth)
    show_analysts(house.client, project_id, review_url=f"{house.url}/review/{project_id}")
    narrator.say(f"connected the backend {house.url} to the project")
    return project_id, backend_id, tasks


def _ask(house: House, backend_id: int, task: SampleTask, narrator: _Narrator) -> AskedMask:
    mask = ask_for_mask(house.client, backend_id, task)
    narrator.say(
        f"one click on {task.image.name}: a mask of {mask.version}, IoU {mask.iou:.3f}, "
        f"Boundary IoU {mask.boundary_iou:.3f}"
    )
    return mask


def _follow(house: House, project_id: int, narrator: _Narrator) -> dict[str, Any]:
    """Report the training's progress until its verdict; return the status with the verdict.

    Raises:
        SamloopError: the training failed.
        Unavailable: nothing changed for 300 s, or a process ended.
    """
    told, changed_s = _StatusLog(narrator.say), narrator.seconds
    while True:
        status = house.status(project_id)
        if status["error"]:
            raise SamloopError(f"the training failed: {status['error']}; see {house.log_path}")
        if status["verdict"] and status["phase"] == "idle":
            return status
        if told.differs(status):
            changed_s = narrator.seconds
        elif narrator.seconds - changed_s > _STALL_S:
            raise Unavailable(
                f"the training has been in phase {status['phase']!r} without a change for {_STALL_S:.0f} s: "
                f"see {house.log_path}"
            )
        narrator.pause()


class _StatusLog:
    """Says what has changed in a project's status since the last look."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last, self._line = say, "", ""

    def differs(self, status: Mapping[str, Any]) -> bool:
        """Return whether anything has changed, and say so for a new phase or epoch."""
        figures = status["progress"]
        now = json.dumps([status["phase"], figures, status["served"], status["error"]])
        moved, self._last = now != self._last, now
        line = name_stage(figures) or str(status["phase"])
        if "epoch" in figures:
            line += f", epoch {figures['epoch']} of {figures.get('epochs', '?')}"
        if line != self._line:
            self._line = line
            loss = figures.get("loss")
            self._say(line + (f", loss {loss:.3f}" if isinstance(loss, float) else ""))
        return moved


def _tell_verdict(verdict: Mapping[str, Any], evaluation: Mapping[str, Any], narrator: _Narrator) -> None:
    narrator.say(f"{'promoted' if verdict['promoted'] else 'not promoted:'} {verdict['version']}: {verdict['reason']}")
    base, candidate = evaluation.get("base"), evaluation.get("candidate")
    if not (base and candidate):
        return
    narrator.say(
        f"held out: {write_amount(evaluation['images'], 'image')}, {write_amount(evaluation['objects'], 'object')}"
    )
    for prompt in ("point", "box"):
        figures = ", ".join(
            f"{name} {base[prompt][metric]:.3f} -> {candidate[prompt][metric]:.3f}"
            for name, metric in (("IoU", "iou"), ("Boundary IoU", "boundary_iou"))
        )
        narrator.say(f"  one {prompt}: {figures}")


def _await_swap(house: House, project_id: int, version: str, narrator: _Narrator) -> float:
    """Wait until the backend serves `version`; return the seconds since the promotion.

    Raises:
        Unavailable: the backend does not serve it within 30 s; the message says why, if the backend refused it.
    """
    deadline_s = narrator.seconds + _SWAP_S
    while (status := house.status(project_id))["served"]["version"] != version:
        if narrator.seconds > deadline_s:
            raise Unavailable(
                f"{version} was promoted, but {status['served']['version']} is still served after {_SWAP_S:.0f} s; "
                f"refused because: {status['refused'].get(version, 'it was not')}; see {house.log_path}"
            )
        narrator.pause()
    since = datetime.fromisoformat(status["served"]["since"])
    swap_s = max(0.0, (datetime.now(since.tzinfo) - since).total_seconds())
    narrator.say(f"swapped: {version} serves now")
    return swap_s


def _await_refresh(house: House, project_id: int, version: str, narrator: _Narrator) -> None:
    """Wait until every untouched image in Label Studio has masks of `version`.

    Raises:
        SamloopError: the refresh failed.
        Unavailable: nothing changed for 300 s.
    """
    before, changed_s = "", narrator.seconds
    while True:
        refresh = house.status(project_id)["refresh"]
        if refresh["error"]:
            raise SamloopError(f"the refresh failed: {refresh['error']}; see {house.log_path}")
        last = refresh["last"] or {}
        if refresh["phase"] == "idle" and last.get("version") == version:
            narrator.say(f"refreshed: {last['reason']}")
            return
        if (now := json.dumps(refresh)) != before:
            before, changed_s = now, narrator.seconds
        elif narrator.seconds - changed_s > _STALL_S:
            raise Unavailable(f"the refresh has made no progress for {_STALL_S:.0f} s: see {house.log_path}")
        narrator.pause()


def _check_refreshed(house: House, project_id: int, waiting: Sequence[SampleTask], *, version: str) -> None:
    """Check that Label Studio shows the new version and has one prediction of it on every untouched image."""
    shown = house.client.project(project_id).get("model_version")
    found = [
        prediction["task"]
        for prediction in house.client.predictions(project_id=project_id)
        if prediction["model_version"] == version
    ]
    if shown != version or sorted(found) != sorted(task.task_id for task in waiting):
        raise SamloopError(f"after the refresh Label Studio shows {shown} and holds {version} on tasks {sorted(found)}")


def _check_served(before: list[AskedMask], after: list[AskedMask], *, base_version: str, version: str) -> None:
    """Check that Label Studio received the first masks from the base and the second masks from the new version."""
    came = [{mask.version for mask in masks} for masks in (before, after)]
    if came != [{base_version}, {version}]:
        raise SamloopError(
            f"Label Studio got masks of {came[0]} before and {came[1]} after, not {base_version}, {version}"
        )


def _stay(house: House, narrator: _Narrator, *, sample: SampleSet) -> None:
    """Set the project up once a folder, print the guide, and report what happens until Ctrl-C."""
    kept = house.directory / "project.json"
    if kept.exists():
        project_id = int(json.loads(kept.read_text())["project"])
        house.client.backends.connect(project_id, url=house.url, title="samloop", basic_auth=house.basic_auth)
    else:
        project_id, _, _ = _set_up(house, narrator, sample=sample, waiting=_WAITING)
        kept.write_text(json.dumps({"project": project_id}))
    guide = Guide(
        label_studio=house.label_studio.url,
        backend=house.url,
        project=project_id,
        user=house.label_studio.user,
        password=house.label_studio.password,
        waiting=_WAITING,
        object_noun=sample.object_noun,
    )
    sys.stderr.write(guide.text())
    told, served = _StatusLog(narrator.say), house.status(project_id)["served"]["version"]
    verdict = None
    while True:
        status = house.status(project_id)
        told.differs(status)
        if status["verdict"] and status["verdict"] != verdict and status["phase"] == "idle":
            verdict = status["verdict"]
            _tell_verdict(verdict, verdict.get("evaluation") or {}, narrator)
        if status["served"]["version"] != served:
            served = status["served"]["version"]
            narrator.say(f"{served} serves now: click on an object again and compare")
        time.sleep(1.0)
