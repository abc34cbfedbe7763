"""A project with two published versions, made by real trainings of a tiny SAM on a Label Studio's annotations."""

from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from xml.sax.saxutils import quoteattr

import numpy as np
from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region
from fakes.studio_setup import StudioSetup
from support.pictures import encode_image

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.label_config import Control
from backend.settings import Settings

HOSTILE = "<script>alert(1)</script>&\"'=1+1"
CONFIG = f"""<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Disc"/><Label value={quoteattr(HOSTILE)}/></BrushLabels>
<KeyPointLabels name="kp" toName="image"><Label value="Disc"/></KeyPointLabels></View>"""


@dataclass(frozen=True)
class Reviewed:
    """`versions`: the older first; neither was promoted. `base`: what is served instead."""

    project_id: int
    settings: Settings
    versions: tuple[str, str]
    base: str


def reviewed(
    studio: FakeLabelStudio, folder: Path, *, tiny_sam_dir: Path, images: int = 3, query: str = ""
) -> Reviewed:
    """Annotate `images` images of two discs, one of them under a hostile label, skip another image, train twice.

    `query` is at the end of every image's address.
    """
    from backend.registry.metrics import Verdict
    from finetuner.pipeline import train_project
    from finetuner.progress import silent

    client = LabelStudio(studio.url, studio.token)
    project_id = int(client.create_project("discs", CONFIG)["id"])
    scenes = [_scene(seed) for seed in range(images + 1)]
    addresses = [studio._upload(project_id, f"{seed} <b>.png", png) + query for seed, (png, _) in enumerate(scenes)]
    StudioSetup(studio.url, studio.token).import_tasks(
        project_id, [{"data": {"image": address}} for address in addresses]
    )
    control = Control(kind="brushlabels", from_name="tag", to_name="image", labels=("Disc", HOSTILE))
    for number, (task, (_, masks)) in enumerate(zip(client.tasks(project_id), scenes, strict=True)):
        regions = [
            brush_region(mask, control=control, label=label, score=1.0, model_version="by-hand")
            for mask, label in zip(masks, ("Disc", HOSTILE), strict=True)
        ]
        client.create_annotation(task["id"], regions, was_cancelled=number == images)
    settings = Settings(
        model=str(tiny_sam_dir),
        device="cpu",
        model_dir=folder / "models",
        cache_dir=folder / "cache",
        training_epochs=1,
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
        poll_seconds=0.1,
    )
    # A random SAM does not get better on discs at will; what is promoted here is what a test promotes.
    verdict = Verdict(promote=False, reasons=("no certain gain over <i>tiny</i>",))
    with patch("finetuner.deciding.outcome.judge", lambda *_, **__: verdict):
        found = [
            train_project(project_id, settings=settings.replace(training_epochs=epochs), progress=silent, fence=_ours)
            for epochs in (1, 2)
        ]
    return Reviewed(project_id, settings, (str(found[0].version), str(found[1].version)), tiny_sam_dir.name)


def _ours() -> None:
    """The lease is ours."""


def _scene(seed: int, *, height_px: int = 48, width_px: int = 64) -> tuple[bytes, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height_px, :width_px]
    masks = [
        (rows - height_px / 2 - rng.uniform(-4, 4)) ** 2 + (columns - middle) ** 2 < rng.uniform(6, 11) ** 2
        for middle in (width_px * 0.28, width_px * 0.72)
    ]
    pixels = rng.integers(0, 40, (height_px, width_px, 3), dtype=np.uint8)
    for mask in masks:
        pixels[mask] += 180
    return encode_image(pixels), masks
