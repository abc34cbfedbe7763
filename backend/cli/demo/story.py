"""The whole loop on a real Label Studio: unattended, or set up for somebody to click through."""

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

from backend.cli.demo.guide import Guide
from backend.cli.demo.house import House
from backend.cli.demo.project import AskedMask, SampleTask, annotate, ask_for_mask, create_project, give_boxes
from backend.cli.demo.samples import SampleSet
from backend.errors import SamloopError, Unavailable
from backend.labelstudio.api.predictions import PredictionStore
from backend.settings import Settings

_WAITING_ONCE, _WAITING = 2, 6  # images left without an annotation: to ask on, to label by hand
_STALL_S = 300.0  # a training whose status does not change for so long hangs
_SWAP_S = 30.0
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What `samloop demo --once` came to.

    Attributes:
        promoted: a better checkpoint was swapped in, and Label Studio got a mask of it.
        evaluation: on held-out images, as `samloop evaluate --json` gives it.
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
        """The line that `samloop demo --once` ends with."""
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
    """Run the demo; everything is stopped by process id when this returns or raises.

    Args:
        settings: the environment's.
        sample: what the project holds; a folder that holds one already keeps it.
        once: the loop unattended; else everything stays up until Ctrl-C.
        port: the backend's; 0: any free one.
        label_studio_port: Label Studio's; 0: any free one.
        directory: keeps everything; None: a new folder, removed after an unattended run that succeeded.

    Returns:
        What the unattended loop came to; None where somebody clicked through it.

    Raises:
        SamloopError: what is missing, what ended by itself, or what did not come in time.
    """
    narrator = _Narrator()
    with _folder(directory, temporary=once) as folder:
        narrator.say(f"starting Label Studio and samloop; everything is kept in {folder}")
        house = House(settings, directory=folder, port=port, label_studio_port=label_studio_port)
        with house:
            narrator.say(f"Label Studio is up on {house.label_studio.url}, the backend on {house.url}")
            if once:
                return _loop(house, narrator, sample=sample)
            try:
                _stay(house, narrator, sample=sample)
            except KeyboardInterrupt:
                narrator.say("stopping")
    narrator.say(f"stopped; `samloop demo --dir {folder}` goes on where this ended")
    return None


class _Narrator:
    """Tells on stderr what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began_s

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
    if temporary:  # an error leaves it where it is: its logs tell the rest
        shutil.rmtree(folder, ignore_errors=True)


def _loop(house: House, narrator: _Narrator, *, sample: SampleSet) -> DemoOutcome:
    """Import, annotate, train, ask for the same mask before and after, and refresh the others."""
    project_id, backend_id, tasks = _set_up(house, narrator, sample=sample, waiting=_WAITING_ONCE)
    base_version = str(house.status(project_id)["served"]["version"])
    asked = tasks[-_WAITING_ONCE:]
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
    """Project, images, annotations of all but the last `waiting`, and the backend: ids of project and backend."""
    project_id, tasks = create_project(house.client, sample)
    for task in tasks[:-waiting]:
        annotate(house.client, task)
    objects = sum(len(task.image.objects) for task in tasks[:-waiting])
    narrator.say(
        f"project {project_id}: {len(tasks)} images uploaded, {len(tasks) - waiting} annotated ({objects} objects)"
    )
    backend_id = house.client.backends.connect(project_id, url=house.url, title="samloop", basic_auth=house.basic_auth)
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
    """Tell the training's progress until its verdict is there; return the status that brings it.

    Raises:
        SamloopError: the training failed.
        Unavailable: nothing moved for 300 s, or a process ended.
    """
    told, changed_s = _Told(narrator.say), time.monotonic()
    while True:
        status = house.status(project_id)
        if status["error"]:
            raise SamloopError(f"the training failed: {status['error']}; see {house.log_path}")
        if status["verdict"] and status["phase"] == "idle":
            return status
        if told.differs(status):
            changed_s = time.monotonic()
        elif time.monotonic() - changed_s > _STALL_S:
            raise Unavailable(
                f"the training has been in phase {status['phase']!r} without a change for {_STALL_S:.0f} s: "
                f"see {house.log_path}"
            )
        time.sleep(_LOOK_S)


class _Told:
    """Says what changed in a project's status since the last look."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last, self._line = say, "", ""

    def differs(self, status: Mapping[str, Any]) -> bool:
        """Whether anything moved; a new phase or epoch is told."""
        figures = status["progress"]
        now = json.dumps([status["phase"], figures, status["served"], status["error"]])
        moved, self._last = now != self._last, now
        line = f"{status['phase']}: {figures['phase']}" if figures.get("phase") else str(status["phase"])
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
    narrator.say(f"held out: {evaluation['images']} images, {evaluation['objects']} objects")
    for prompt in ("point", "box"):
        figures = ", ".join(
            f"{name} {base[prompt][metric]:.3f} -> {candidate[prompt][metric]:.3f}"
            for name, metric in (("IoU", "iou"), ("Boundary IoU", "boundary_iou"))
        )
        narrator.say(f"  one {prompt}: {figures}")


def _await_swap(house: House, project_id: int, version: str, narrator: _Narrator) -> float:
    """Wait until the backend serves `version`; return the seconds since it was promoted.

    Raises:
        Unavailable: it does not within 30 s; the message says why it was refused, if it was.
    """
    deadline = time.monotonic() + _SWAP_S
    while (status := house.status(project_id))["served"]["version"] != version:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{version} was promoted, but {status['served']['version']} is still served after {_SWAP_S:.0f} s; "
                f"refused because: {status['refused'].get(version, 'it was not')}; see {house.log_path}"
            )
        time.sleep(_LOOK_S)
    since = datetime.fromisoformat(status["served"]["since"])
    swap_s = max(0.0, (datetime.now(since.tzinfo) - since).total_seconds())
    narrator.say(f"swapped: {version} is served now")
    return swap_s


def _await_refresh(house: House, project_id: int, version: str, narrator: _Narrator) -> None:
    """Wait until the images that nobody labelled carry masks of `version` in Label Studio.

    Raises:
        SamloopError: the refresh failed.
        Unavailable: nothing moved for 300 s.
    """
    before, changed_s = "", time.monotonic()
    while True:
        refresh = house.status(project_id)["refresh"]
        if refresh["error"]:
            raise SamloopError(f"the refresh failed: {refresh['error']}; see {house.log_path}")
        last = refresh["last"] or {}
        if refresh["phase"] == "idle" and last.get("version") == version:
            narrator.say(f"refreshed: {last['reason']}")
            return
        if (now := json.dumps(refresh)) != before:
            before, changed_s = now, time.monotonic()
        elif time.monotonic() - changed_s > _STALL_S:
            raise Unavailable(f"the refresh has not moved for {_STALL_S:.0f} s: see {house.log_path}")
        time.sleep(_LOOK_S)


def _check_refreshed(house: House, project_id: int, waiting: Sequence[SampleTask], *, version: str) -> None:
    """Label Studio shows the new version, and holds one prediction of it on every image that nobody labelled."""
    shown = house.client.project(project_id).get("model_version")
    found = [
        prediction["task"]
        for prediction in house.client.predictions(project_id=project_id)
        if prediction["model_version"] == version
    ]
    if shown != version or sorted(found) != sorted(task.task_id for task in waiting):
        raise SamloopError(f"after the refresh Label Studio shows {shown} and holds {version} on tasks {sorted(found)}")


def _check_served(before: list[AskedMask], after: list[AskedMask], *, base_version: str, version: str) -> None:
    """Both answers came through Label Studio: the first of the base, the second of the new version."""
    came = [{mask.version for mask in masks} for masks in (before, after)]
    if came != [{base_version}, {version}]:
        raise SamloopError(
            f"Label Studio got masks of {came[0]} before and {came[1]} after, not {base_version}, {version}"
        )


def _stay(house: House, narrator: _Narrator, *, sample: SampleSet) -> None:
    """Set the project up once a folder, tell what to do, and tell what happens until Ctrl-C."""
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
    told, served = _Told(narrator.say), house.status(project_id)["served"]["version"]
    verdict = None
    while True:
        status = house.status(project_id)
        told.differs(status)
        if status["verdict"] and status["verdict"] != verdict and status["phase"] == "idle":
            verdict = status["verdict"]
            _tell_verdict(verdict, verdict.get("evaluation") or {}, narrator)
        if status["served"]["version"] != served:
            served = status["served"]["version"]
            narrator.say(f"{served} is served now: click on an object again and compare")
        time.sleep(1.0)
