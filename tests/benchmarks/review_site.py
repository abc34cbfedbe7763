"""The review pages with something to look at: nuclei, two versions from real trainings, and submitted annotations.

Label Studio is a fake; the backend, its model, the trainings and the pages are real. A folder keeps the trained
versions, so that a second start takes seconds.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import requests
from benchmarks.pages import say
from fakes.label_studio import FakeLabelStudio
from fakes.serving import served
from fakes.studio_setup import StudioSetup

from backend.images.folder import find_image
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.export_file import read_export
from backend.masks.metrics import iou
from backend.registry.checkpoint import WEIGHTS_FILE
from backend.registry.local import LocalRegistry
from backend.registry.review_file import REVIEW_FILE
from backend.sam.predictor import base_predictor, predictor_of
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.measuring.evaluation import measure
from finetuner.pipeline import train_project
from finetuner.presets import config_of
from finetuner.report.review import review_file

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Nucleus"/></BrushLabels>
<KeyPointLabels name="point" toName="image" smart="true"><Label value="Nucleus" smart="true"/></KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Nucleus" smart="true"/></RectangleLabels>
</View>"""
_FEW, _WAITING = 14, 5  # images that the first version learns from; that nobody has annotated yet
_LIVE = 3  # of those, that are annotated with the masks of what is served
_LEFT_AS_IT_IS = 0.88  # IoU from which on this annotator submits a mask without a correction


@dataclass(frozen=True, slots=True)
class Site:
    """`url` of the backend; `versions` the older first; `many` is a project whose version kept 200 held-out objects."""

    url: str
    settings: Settings
    project_id: int
    versions: tuple[str, ...]
    many: int | None = None

    @property
    def review(self) -> str:
        """The overview's address."""
        return f"{self.url}/review/{self.project_id}"


@contextmanager
def site(nuclei: Path, folder: Path, *, epochs: int, objects: int = 0) -> Iterator[Site]:
    """Train what `folder` does not hold yet, one epoch and then `epochs` (0: no second version), and serve.

    `objects`: how many the second project's version holds out; 0: without that project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FakeLabelStudio() as studio:
        client = StudioSetup(studio.url, studio.token)
        settings = Settings.from_env().replace(
            label_studio_url=studio.url,
            label_studio_api_key=studio.token,
            model_dir=folder / "models",
            training_seconds=86_400.0,
            head="promptable",
            prewarm=0,
        )
        tasks = _imported(studio, client, nuclei)
        drawn, waiting = tasks[:-_WAITING], tasks[-_WAITING:]
        versions = tuple(_versions(client, settings, drawn, epochs=(1, epochs)))
        many = _many(studio, client, nuclei, objects, settings=settings) if objects else None
        environ = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": studio.token,
            "SAMLOOP_PREWARM": "0",
            "SAMLOOP_REFRESH": "0",
            "MODEL_DIR": str(settings.registry.model_dir),
            "SAMLOOP_CACHE_DIR": str(settings.cache.dir),
        }
        with tempfile.TemporaryDirectory() as temporary, served(Path(temporary) / "server", environ=environ) as server:
            _annotate_with(client, server.url, waiting[:_LIVE])
            yield Site(server.url, settings, 1, versions, many)


def _imported(studio: FakeLabelStudio, client: LabelStudio, nuclei: Path) -> list[dict[str, Any]]:
    """The export's tasks with the ids that they have here. Their images' addresses are the same at every start."""
    project_id = int(client.create_project("nuclei", CONFIG)["id"])
    tasks = read_export(nuclei / "export.json")
    for task in tasks:
        studio._uploads[task["data"]["image"]] = find_image(nuclei / "images", task["data"]["image"]).read_bytes()
    client.import_tasks(project_id, [{"data": task["data"]} for task in tasks])
    ids = sorted(int(task["id"]) for task in client.tasks(project_id))
    return [task | {"id": number} for task, number in zip(tasks, ids, strict=True)]


def _versions(
    client: LabelStudio, settings: Settings, tasks: Sequence[dict[str, Any]], *, epochs: tuple[int, int]
) -> Iterator[str]:
    known = [manifest.version for manifest in LocalRegistry(settings.registry.model_dir).versions(1)]
    yield from known
    for number, (part, most) in enumerate(zip((tasks[:_FEW], tasks[_FEW:]), epochs, strict=True)):
        if not most:
            return
        for task in part:
            client.create_annotation(task["id"], task["annotations"][0]["result"], lead_time=40.0)
        if number >= len(known):
            found = train_project(
                1, settings=settings.replace(training_epochs=most), progress=_told, fence=lambda: None
            )
            say(f"{found.version}: {found.reason}")
            yield str(found.version)


def _told(phase: str, **figures: object) -> None:
    if int(str(figures.get("step", 0))) % 20 == 0:
        say(f"{phase} {figures}"[:150])


def _many(studio: FakeLabelStudio, client: LabelStudio, nuclei: Path, objects: int, *, settings: Settings) -> int:
    """A project with the last version as measured on so many objects, whether it learnt from their images or not."""
    registry, project_id = LocalRegistry(settings.registry.model_dir), int(client.create_project("many", CONFIG)["id"])
    if registry.versions(project_id):
        return project_id
    context = TrainingContext.open(settings, config=config_of(settings), progress=_told)
    annotated = [
        image for task in read_export(nuclei / "export.json") for image in context.read_task(task, config=None)
    ]
    samples = context.samples(
        (task for task in annotated if task is not None),
        read=lambda task: studio._uploads[task.image_uri],
        max_pixels=10**8,
    )
    taken, left = [], objects
    for sample in samples:
        taken.append(replace(sample, objects=sample.objects[:left]))
        left -= len(taken[-1].objects)
        if not left:
            break
    last = registry.versions(1)[-1]
    folder, embedding = registry.materialise(last.version), context.embeddings.by(context.base)
    models = (base_predictor(context.base), predictor_of(context.base, folder))
    base, candidate = (measure(model, taken, embedding=embedding, clicks=0) for model in models)
    kept = {REVIEW_FILE: review_file(taken, base=base, candidate=candidate)}
    registry.publish(project_id, weights=(folder / WEIGHTS_FILE).read_bytes(), manifest=last, others=kept)
    return project_id


def _annotate_with(client: LabelStudio, url: str, tasks: Sequence[dict[str, Any]]) -> None:
    """Box every object in Label Studio's editor, mend the masks that came back where they are poor, and submit."""
    backend_id = client.backends.connect(1, url=url, title="samloop")
    live = lambda: requests.get(f"{url}/projects/1/status", timeout=30).json()["live"] or {}  # noqa: E731
    if live():
        return
    for task in tasks:
        submitted = []
        for region in task["annotations"][0]["result"]:
            height_px, width_px = region["original_height"], region["original_width"]
            human = mask_of_region(region, height_px=height_px, width_px=width_px)
            (found,) = client.backends.interactive(backend_id, task["id"], {"result": [_boxed(region, human)]})[
                "result"
            ]
            ours = mask_of_region(found, height_px=height_px, width_px=width_px)
            keeps = iou(ours, human) >= _LEFT_AS_IT_IS
            submitted.append(found if keeps else found | {"value": region["value"]})
        client.create_annotation(task["id"], submitted, lead_time=4.0 * len(submitted))
    _wait(lambda: sum(figures["annotations"] for figures in live().values()) == len(tasks), what="live evaluation")


def _boxed(region: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    height_px, width_px = mask.shape
    x, y, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    value = {
        "x": 100 * float(x) / width_px,
        "y": 100 * float(y) / height_px,
        "rotation": 0,
        "width": 100 * float(right - x) / width_px,
        "height": 100 * float(bottom - y) / height_px,
        "rectanglelabels": ["Nucleus"],
    }
    return {
        "id": f"box-{region['id']}",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "original_width": width_px,
        "original_height": height_px,
        "image_rotation": 0,
        "value": value,
    }


def _wait(condition: Any, *, what: str, seconds: float = 300.0) -> None:
    until_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until_s:
            raise SystemExit(f"no {what} within {seconds:.0f} s")
        time.sleep(0.3)
