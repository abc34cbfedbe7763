"""A tiny random SAM, images of discs with their masks, and the same as Label Studio has them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region
from PIL import Image
from support.pictures import encode_image

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.label_config import Control
from backend.sam.loading import BaseModel, load_base
from backend.settings import Settings
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Disc"/><Label value="Ring"/></BrushLabels>
<KeyPointLabels name="kp" toName="image"><Label value="Disc"/></KeyPointLabels></View>"""


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """A tiny model gains nothing from a second thread, and on a busy machine waits for it at every step."""
    threads = torch.get_num_threads()
    if request.node.get_closest_marker("weights") is None:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_denormals(request: pytest.FixtureRequest) -> Iterator[None]:
    """As `samloop` computes. Where denormal numbers are zero, though, hypothesis refuses to draw any number."""
    torch.set_flush_denormal(not hasattr(request.module, "given"))
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def label_config() -> str:
    """A labelling configuration with the labels Disc and Ring."""
    return CONFIG


@pytest.fixture(scope="session")
def tiny_base(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The tiny random SAM, loaded."""
    return load_base(str(tiny_sam_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def lively_base(lively_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The one of larger weights, whose encoder tells images apart."""
    return load_base(str(lively_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu", dtype="float32")


@pytest.fixture
def tiny_settings(tiny_sam_dir: Path, tmp_path: Path) -> Settings:
    """Settings with that model and no semantic head, everything else below `tmp_path`."""
    return Settings(
        model=str(tiny_sam_dir),
        device="cpu",
        model_dir=tmp_path / "models",
        cache_dir=tmp_path / "cache",
        training_epochs=2,
        training_seconds=60.0,
        head="promptable",
        forgetting=False,
        outside="trained",
        specks_px=0,  # a random SAM draws little else
    )


def _discs(seed: int, *, height_px: int = 48, width_px: int = 64) -> tuple[Image.Image, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height_px, :width_px]
    masks = []
    for middle in (width_px * 0.28, width_px * 0.72):
        y, x = height_px / 2 + rng.uniform(-4, 4), middle + rng.uniform(-3, 3)
        masks.append((rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(6, 11) ** 2)
    pixels = rng.integers(0, 40, (height_px, width_px, 3), dtype=np.uint8)
    for mask in masks:
        pixels[mask] += 180
    return Image.fromarray(pixels), masks


@pytest.fixture(scope="session")
def discs() -> Callable[..., tuple[Image.Image, list[np.ndarray]]]:
    """`discs(seed)`: an image of two bright discs on noise, and their masks."""
    return _discs


@pytest.fixture(scope="session")
def sample() -> Sample:
    """The two discs of seed 0."""
    image, masks = _discs(0)
    objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
    return Sample(image_sha256="0" * 64, height_px=image.height, width_px=image.width, objects=objects)


@pytest.fixture(scope="session")
def png() -> Callable[[Image.Image], bytes]:
    """The image as a PNG file."""

    def encode(image: Image.Image) -> bytes:
        return encode_image(image)

    return encode


@pytest.fixture(scope="session")
def brush() -> Callable[..., dict[str, Any]]:
    """`brush(mask, label)`: a region as an annotator submits it."""

    def region(mask: np.ndarray, label: str = "Disc") -> dict[str, Any]:
        control = Control(kind="brushlabels", from_name="tag", to_name="image", labels=("Disc", "Ring"))
        return brush_region(mask, control=control, label=label, score=1.0, model_version="by-hand")

    return region


@pytest.fixture
def export(
    tmp_path: Path,
    discs: Callable[..., tuple[Image.Image, list[np.ndarray]]],
    png: Callable[[Image.Image], bytes],
    brush: Callable[..., dict[str, Any]],
) -> Path:
    """Eight images in `images/`, as an export of uploads names them."""
    folder = tmp_path / "images"
    folder.mkdir()
    tasks = []
    for seed in range(8):
        image, masks = discs(seed)
        (folder / f"disc {seed}.png").write_bytes(png(image))
        tasks.append(
            {
                "id": seed,
                "data": {"image": f"/data/upload/1/0123abcd-disc%20{seed}.png"},
                "annotations": [{"id": seed, "result": [brush(mask) for mask in masks]}],
            }
        )
    file = tmp_path / "export.json"
    file.write_text(json.dumps(tasks))
    return file


@pytest.fixture
def settings(studio: FakeLabelStudio, tiny_settings: Settings) -> Settings:
    return tiny_settings.replace(label_studio_url=studio.url, label_studio_api_key=studio.token)


@pytest.fixture
def project(
    studio: FakeLabelStudio,
    label_config: str,
    discs: Callable[..., tuple[Image.Image, list[np.ndarray]]],
    png: Callable[[Image.Image], bytes],
    brush: Callable[..., dict[str, Any]],
) -> int:
    """Eight uploads with two annotated discs an image, a keypoint that was never answered, and one skipped task."""
    client = LabelStudio(studio.url, studio.token)
    project_id = int(client.create_project("discs", label_config)["id"])
    scenes = [discs(seed) for seed in range(9)]
    client.import_images(project_id, {f"{seed}.png": png(image) for seed, (image, _) in enumerate(scenes)})
    keypoint = {"id": "k", "type": "keypointlabels", "value": {"x": 5, "y": 5, "keypointlabels": ["Disc"]}}
    for task, (_, masks) in zip(client.tasks(project_id), scenes, strict=True):
        if task["data"]["image"].endswith("8.png"):
            client.create_annotation(task["id"], [], was_cancelled=True)
        else:
            client.create_annotation(task["id"], [*(brush(mask) for mask in masks), keypoint])
    return project_id
