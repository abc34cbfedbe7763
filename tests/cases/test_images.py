"""Files and addresses of public bug reports: the image that the annotator sees is the image that we read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio

from backend.images.picture import open_image
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.task_data import image_at
from backend.settings import Settings

CASES = Path(__file__).resolve().parents[1] / "data" / "cases"
UPLOAD = "/data/upload/1/0123abcd-a0.png"


def read_tasks(case: str) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads((CASES / case / "tasks.json").read_text())
    return tasks


@pytest.mark.parametrize("name", ["a.gif", "cut.jpg", "half.jpg"])
def test_a_file_that_browsers_show_has_its_disc_where_they_show_it(name: str) -> None:
    case = CASES / "pictures-that-browsers-show"
    x_px, y_px = json.loads((case / "truth.json").read_text())
    image = open_image((case / name).read_bytes(), max_pixels=1_000_000)
    grey = np.asarray(image.convert("L"))
    assert image.size == (160, 120)
    assert grey[round(y_px), round(x_px)] > 150 > np.median(grey)


@pytest.mark.parametrize("task", read_tasks("addresses-as-browsers-take-them"), ids=["before", "after", "localhost"])
def test_an_address_that_the_editor_shows_is_asked_of_label_studio_with_its_key(
    task: dict[str, Any], studio: FakeLabelStudio
) -> None:
    picture = (CASES / "addresses-as-browsers-take-them" / "a0.png").read_bytes()
    port = studio.url.rpartition(":")[2]
    client = LabelStudio(studio.url, studio.token, public_url=f"http://localhost:{port}")
    project = client.create_project("x", "<View/>")["id"]
    client.import_images(project, {"a0.png": picture})
    (uploaded,) = client.tasks(project)
    written = task["data"]["image"].replace("PORT", port)
    assert UPLOAD in written
    address = image_at({"image": written.replace(UPLOAD, uploaded["data"]["image"])}, "image")
    assert address is not None
    studio.requests.clear()
    assert ImageSource(settings=Settings(), label_studio=client).fetch(address) == picture
    assert {request.headers["authorization"] for request in studio.requests} == {f"Token {studio.token}"}


@pytest.mark.parametrize("task", read_tasks("windows-paths"), ids=["as it writes", "as people write"])
def test_a_path_of_windows_is_the_file_below_the_root(task: dict[str, Any]) -> None:
    root = CASES / "windows-paths" / "root"
    source = ImageSource(settings=Settings(local_files_root=(root,)), label_studio=None)
    assert source.fetch(task["data"]["image"]) == (root / "set" / "w1.png").read_bytes()
