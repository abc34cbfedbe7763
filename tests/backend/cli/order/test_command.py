"""`samloop order` on a fake Label Studio: what stands in its tabs afterwards."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup
from PIL import Image
from support.pictures import encode_image
from typer.testing import CliRunner, Result

from backend.__main__ import app
from backend.cli.order.command import NEXT_TAB, SCORES_TAB
from backend.errors import BadInput

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


class Lab:
    def __init__(self, studio: FakeLabelStudio) -> None:
        self.studio, self.client = studio, StudioSetup(studio.url, studio.token)
        self.project_id = int(self.client.create_project("p", CONFIG)["id"])

    def tasks(self, colours: list[str]) -> list[int]:
        files = {}
        for number, colour in enumerate(colours):
            files[f"{number:03d}.png"] = encode_image(Image.new("RGB", (8, 8), colour))
        self.client.import_images(self.project_id, files)
        return sorted(int(task["id"]) for task in self.client.tasks(self.project_id))

    def order(self, *words: str) -> Result:
        try:
            return CliRunner().invoke(app, ["order", "--project", str(self.project_id), *words])
        finally:
            logging.getLogger().handlers.clear()  # they write to what the runner has closed

    def tab(self, title: str) -> dict:
        (view,) = (tab for tab in self.client.tabs.all(self.project_id) if tab["data"]["title"] == title)
        return dict(view["data"])

    def queue(self) -> set[int]:
        return {item["value"] for item in self.tab(NEXT_TAB)["filters"]["items"]}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tiny_sam_dir: Path, tmp_path: Path) -> Iterator[Lab]:
    with FakeLabelStudio() as studio:
        monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
        monkeypatch.setenv("SAMLOOP_MODEL", str(tiny_sam_dir))
        monkeypatch.setenv("SAMLOOP_CACHE_DIR", str(tmp_path / "cache"))
        yield Lab(studio)


def test_below_twenty_annotations_images_are_compared_and_nothing_else_changes(lab: Lab) -> None:
    ids = lab.tasks(["black"] * 6 + ["white"] * 4 + ["red"] * 2)
    lab.client.create_annotation(ids[0], [])
    del lab.studio._uploads[next(path for path in lab.studio._uploads if path.endswith("001.png"))]

    told = lab.order("--tasks", "3")

    assert told.exit_code == 0, told.output
    assert "1 of 20 tasks are annotated" in told.output
    queue = lab.queue()
    assert len(queue) == 3
    assert ids[0] not in queue
    assert ids[1] not in queue, "its image is gone"
    assert lab.client.project(lab.project_id)["sampling"] == "Sequential sampling"
    assert f"task {ids[1]} is left out" in told.stderr


def scored(lab: Lab) -> list[int]:
    """40 tasks, 20 of them annotated; the scores of the others fall with their ids."""
    lab.client.import_tasks(lab.project_id, [{"data": {"image": f"/{number}.png"}} for number in range(40)])
    ids = sorted(int(task["id"]) for task in lab.client.tasks(lab.project_id))
    for task_id in ids[:20]:
        lab.client.create_annotation(task_id, [])
    for number, task_id in enumerate(ids):
        lab.client.create_prediction(task_id, result=[], score=1 - number / 100, model_version="v1")
    return ids


def test_from_twenty_on_the_lowest_scores_come_first_and_a_tenth_is_random(lab: Lab) -> None:
    ids = scored(lab)
    lab.client.update_project(lab.project_id, model_version="v1")

    for _ in range(2):  # safe to repeat
        told = lab.order("--tasks", "10")
        assert told.exit_code == 0, told.output

    queue = lab.queue()
    assert queue >= set(ids[-9:]), "the nine lowest scores"
    assert len(queue) == 10
    assert queue <= set(ids[20:])
    assert lab.client.project(lab.project_id)["sampling"] == "Uncertainty sampling"
    assert lab.tab(SCORES_TAB)["ordering"] == lab.tab(NEXT_TAB)["ordering"] == ["tasks:predictions_score"]
    left = {item["child_filter"]["filter"] for item in lab.tab(NEXT_TAB)["filters"]["items"]}
    assert left == {"filter:tasks:total_annotations"}, "what is annotated by now leaves the tab"
    assert len(lab.client.tabs.all(lab.project_id)) == 3, "these two and Label Studio's own"


def test_without_stored_scores_it_says_what_brings_them(lab: Lab) -> None:
    scored(lab)
    told = lab.order()
    assert isinstance(told.exception, BadInput)
    assert str(told.exception).startswith("project 1 shows no version, but no prediction of it is stored")
    assert "samloop refresh --project 1" in str(told.exception)
    assert lab.client.tabs.all(lab.project_id) == []


def test_nothing_left_to_label_is_told(lab: Lab) -> None:
    (task_id,) = lab.tasks(["black"])
    lab.client.create_annotation(task_id, [])
    told = lab.order()
    with pytest.raises(BadInput, match="has no task left that nobody has annotated"):
        raise told.exception or AssertionError
    assert np.isscalar(told.exit_code)
