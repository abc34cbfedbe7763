"""`samloop predict`: prompt-free pre-annotations of a folder of images, as a file that Label Studio imports."""

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.amounts import write_amount
from backend.cli.console import err, load_settings, out
from backend.cli.unfinished import Predicted, Unfinished
from backend.errors import BadInput, SamloopError
from backend.files.outputs import new_file

if TYPE_CHECKING:  # they take seconds to import, torch above all
    from backend.images.folder import ImageFolder
    from backend.labelstudio.label_config import LabelConfig
    from backend.labelstudio.payloads import LabelStudioJson, Task
    from backend.masks.crop import Crop
    from backend.sam.predictor import Embedding, Predictor
    from backend.serving.task_image import TaskImage
    from backend.settings import Settings

T = TypeVar("T")
_SHOWN = 5


def predict(  # noqa: PLR0913, PLR0917 - its options
    export: Annotated[
        Path, typer.Option(help="Label Studio's JSON export.", exists=True, dir_okay=False, readable=True)
    ],
    images: Annotated[
        Path, typer.Option(help="Folder with the images, looked up by file name.", exists=True, file_okay=False)
    ],
    out_file: Annotated[
        Path, typer.Option("--out", help="JSON file to write, for Label Studio's import.", dir_okay=False)
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a checkpoint; default: SAMLOOP_MODEL.", exists=True, file_okay=False)
    ] = None,
    label_config: Annotated[
        Path | None,
        typer.Option(
            help="The project's labelling interface (XML); default: guessed from the export's regions.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    image_root_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address at which the importing Label Studio finds the images' folder, such as "
            "/data/local-files/?d=folder; default: the export's addresses, which only its own Label Studio can show.",
        ),
    ] = None,
) -> None:
    """Pre-annotate every task of an export, and write a file for Label Studio's import; no prompts are needed.

    A checkpoint with a semantic head gives a region for every object, with its label; any other model outlines
    everything that stands out. Annotations in the export are ignored. Importing the file creates new tasks: choose a
    project without these images. If a run is killed, the same command goes on where that run was.

    Example: `samloop predict --export export.json --images images/ --checkpoint checkpoint/ --out predictions.json`
    """
    settings, out_file = load_settings(), new_file(out_file)  # before PyTorch loads: a mistake is told at once
    from backend.images.folder import ImageFolder
    from backend.labelstudio.export import recover_config
    from backend.labelstudio.export_file import read_export
    from backend.labelstudio.label_config import parse_label_config

    tasks = [task for task in read_export(export) if isinstance(task, dict) and isinstance(task.get("data"), dict)]
    config = parse_label_config(label_config.read_text()) if label_config else recover_config(tasks)
    folder = ImageFolder(images, (uri for task in tasks for _, uri in _list_images(task, config)))
    predictor = _predictor(settings, checkpoint)
    work = [tasks, label_config and label_config.read_text(), predictor.version, predictor.base.fingerprint]
    unfinished = Unfinished.open(out_file, of=json.dumps(work))
    if unfinished.done:
        err.print(f"going on after {write_amount(len(unfinished.done), 'task')} of a run that was killed")
    predict_task = partial(_predict_task, predictor=predictor, config=config, images=folder, settings=settings)
    _predict_missing(tasks, unfinished, predict_task=predict_task)
    predicted = [item.task for item in unfinished.done]
    reasons = [item.why for item in unfinished.done if item.why is not None]
    if predicted and len(reasons) == len(predicted):
        unfinished.remove()
        raise BadInput(f"none of {len(predicted)} tasks could be predicted, so {out_file} is not written; {reasons[0]}")
    if image_root_url is not None:
        predicted = [_move_image(task, image_root_url, config=config, images=folder) for task in predicted]
    out_file.write_text(json.dumps(predicted) + "\n")
    unfinished.remove()
    _report(predicted, reasons, predictor=predictor, out_file=out_file)
    if len(predicted) < len(tasks):
        raise BadInput(f"ended by a signal after {len(predicted)} of {len(tasks)} tasks, which are in {out_file}")


def _predict_missing(
    tasks: "Sequence[Task]", unfinished: Unfinished, *, predict_task: "Callable[[Task], Predicted]"
) -> None:
    """Predict the tasks that are not predicted yet, until a signal."""
    with _keep_what_is_done() as interrupted:
        for task in _with_progress(tasks, done=len(unfinished.done)):
            if interrupted.is_set():
                break
            unfinished.append(predict_task(task))


def _report(
    predicted: "Sequence[LabelStudioJson]", reasons: Sequence[str], *, predictor: "Predictor", out_file: Path
) -> None:
    """Say what was written where, by which model, and why tasks have no region."""
    regions = write_amount(sum(len(task["predictions"][0]["result"]) for task in predicted), "region")
    tasks_done = write_amount(len(predicted), "task")
    how = "its semantic head" if predictor.semantic is not None else "automatic masks: it has no semantic head"
    out.print(f"{regions} on {tasks_done} by {predictor.version} ({how}) written to {out_file}: ", end="")
    out.print("import the file into a project", soft_wrap=True)
    for sentence in reasons[:_SHOWN]:
        out.print(f"without regions: {sentence}", markup=False, highlight=False, soft_wrap=True)
    if len(reasons) > _SHOWN:
        out.print(f"without regions: {write_amount(len(reasons) - _SHOWN, 'more task')}")


def _predictor(settings: "Settings", checkpoint: Path | None) -> "Predictor":
    from backend.sam.loading import load_base
    from backend.sam.predictor import base_predictor, predictor_of

    base = load_base(
        settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
    )
    return base_predictor(base) if checkpoint is None else predictor_of(base, checkpoint)


def _predict_task(
    task: "Task", *, predictor: "Predictor", config: "LabelConfig", images: "ImageFolder", settings: "Settings"
) -> Predicted:
    from backend.images.source import ImageSource
    from backend.sam.automatic import AutomaticRules
    from backend.sam.semantic.objects import SemanticRules
    from backend.serving.batches import Batches
    from backend.serving.slot import Snapshot
    from backend.serving.task_image import TaskImage

    machine = _Folder(predictor, images, max_pixels=settings.image.pixels)
    batches = Batches(
        machine=machine,
        observer=_Silent(),
        automatic=AutomaticRules(points=settings.serving.automatic_points, most=settings.serving.automatic_regions),
        semantic=SemanticRules(most=settings.serving.automatic_regions),
        seconds=float("inf"),
        polygon_tolerance_px=settings.serving.polygon_tolerance_px,
        specks_px=settings.serving.specks_px,
    )
    bare = {"id": task.get("id"), "data": task["data"]}
    snapshot = Snapshot(version=predictor.version, predictor=predictor, number=0)
    nowhere_else = ImageSource(settings=settings, label_studio=None)
    (answer,) = batches.answer([TaskImage(task=bare, config=config, images=nowhere_else)], snapshot=snapshot)
    if note := answer.prediction.pop("note", None):
        err.print(f"task {task.get('id')}: {note}")
    why = None if answer.why is None else f"task {task.get('id')}: {answer.why}"
    return Predicted({**bare, "predictions": [answer.prediction]}, why)


def _list_images(task: "Task", config: "LabelConfig") -> list[tuple[str, str]]:
    """Return the path into the task's data, and the address, of every image that the task shows."""
    from backend.labelstudio.task_data import image_at

    keys = [image.image_key for image in config.images(task["data"])]
    return [(key, uri) for key in keys if (uri := image_at(task["data"], key)) is not None]


def _move_image(task: "Task", root_url: str, *, config: "LabelConfig", images: "ImageFolder") -> "LabelStudioJson":
    """Return the task with its images below another root; those that the folder lacks stay as they are."""
    from backend.labelstudio.task_data import replace_at

    between = "" if root_url.endswith(("/", "=")) else "/"
    data = task["data"]
    for key, uri in _list_images(task, config):
        with suppress(SamloopError):  # reported before: it has no regions
            data = replace_at(data, key, f"{root_url}{between}{quote(images.place(uri))}")
    return {**task, "data": data}


class _Silent:
    """Hears of tasks without masks, and says nothing: their answers say why."""

    def count_batch(self, *, images: int, seconds: float) -> None:
        """Ignore it."""

    def count_failure(self, reason: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """A machine that reads images from a folder instead of Label Studio, and computes in this thread."""

    predictor: "Predictor"
    folder: "ImageFolder"
    max_pixels: int

    def embed(self, image: "TaskImage", *, crop: "Crop | None" = None, **_: object) -> "Embedding":
        """Return the embedding of the task's image in the folder, or of a part of it (image px)."""
        from backend.images.source import open_image
        from backend.sam.predictor import encode

        picture = open_image(self.folder.read(image.uri), max_pixels=self.max_pixels)
        embedding = encode(self.predictor.base, picture, crop=crop)
        if crop is not None or (outside := self.predictor.outside) is None:
            return embedding
        return replace(embedding, by_base=lambda: encode(outside.predictor.base, picture))

    def decode(self, work: Callable[[], T], **_: object) -> T:
        """Return the work's result."""
        return work()


@contextmanager
def _keep_what_is_done() -> Iterator[Event]:
    """Set the event at Ctrl+C or SIGTERM, instead of ending the program with all that it has predicted."""
    interrupted = Event()
    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, lambda *_: interrupted.set()) for name in names]
    try:
        yield interrupted
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _with_progress(tasks: "Sequence[Task]", *, done: int) -> "Iterator[Task]":
    """Yield all tasks but the first `done`, and show how far the work is."""
    if not err.is_terminal:
        step = max(1, len(tasks) // 10)
        for number, task in enumerate(tasks[done:], start=done):
            yield task
            if (number + 1) % step == 0:
                err.print(f"predicting {number + 1} of {len(tasks)}")
        return
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        line = progress.add_task("predicting", total=len(tasks), completed=done)
        for task in tasks[done:]:
            yield task
            progress.advance(line)
