"""A whole project is embedded in a row, and what is left out says why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.pictures import encode_image

from backend.errors import KeyRefused, NotFound
from backend.labelstudio.label_config import parse_label_config
from backend.sam.loading import BaseModel
from backend.serving.machine import ServerMachine, open_machine
from backend.serving.task_image import TaskImage
from backend.serving.warming import Warmed, warm_tasks
from backend.settings import Settings

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


class Source:
    """Stands in for ImageSource: greys by number; "gone" is not there, "locked" is refused."""

    name = "a studio"

    def fetch(self, uri: str, *, task_id: int | None = None) -> bytes:
        if uri == "gone":
            raise NotFound("Label Studio has no such image")
        if uri == "locked":
            raise KeyRefused("LABEL_STUDIO_API_KEY is not accepted")
        return encode_image(Image.new("L", (32, 24), int(uri)))


@pytest.fixture
def machine(tiny_base: BaseModel, tmp_path: Path) -> Iterator[ServerMachine]:
    machine = open_machine(tiny_base, Settings(cache_dir=tmp_path / "cache"))
    yield machine
    machine.close()


def images(*uris: str | None) -> list[TaskImage]:
    source: Any = Source()
    data = [{} if uri is None else {"image": uri} for uri in uris]
    return [TaskImage(task={"id": n, "data": fields}, config=CONFIG, images=source) for n, fields in enumerate(data)]


def test_every_task_is_embedded_in_order_and_what_is_left_out_says_why(machine: ServerMachine) -> None:
    asked = images("0", "1", "gone", None, *map(str, range(2, 12)))
    warmed = list(warm_tasks(asked, embeddings=machine.embeddings))
    assert [warm.task_id for warm in warmed] == list(range(14))
    assert [warm.computed for warm in warmed] == [True, True, False, False, *[True] * 10]
    assert warmed[2] == Warmed(2, why="Label Studio has no such image")
    assert "no image" in str(warmed[3].why)
    assert machine.store.counts.computed == 12


def test_a_second_run_goes_on_where_the_first_ended(machine: ServerMachine) -> None:
    list(warm_tasks(images("0", "1"), embeddings=machine.embeddings))
    again = list(warm_tasks(images("0", "1", "2"), embeddings=machine.embeddings))
    assert [warm.computed for warm in again] == [False, False, True]


def test_a_key_that_is_refused_ends_it_for_all(machine: ServerMachine) -> None:
    with pytest.raises(KeyRefused, match="LABEL_STUDIO_API_KEY"):
        list(warm_tasks(images("0", "locked", "1"), embeddings=machine.embeddings))


def test_tasks_are_taken_as_they_are_needed_however_many_there_are(machine: ServerMachine) -> None:
    taken: list[int] = []

    def endless() -> Iterator[TaskImage]:
        while True:
            taken.append(1)
            yield images("0")[0]

    warmed: Any = warm_tasks(endless(), embeddings=machine.embeddings)
    next(warmed)
    assert len(taken) <= 8
    warmed.close()


def test_all_images_of_a_task_are_embedded(machine: ServerMachine) -> None:
    pages = parse_label_config(
        '<View><Image name="image" valueList="$pages"/><Brush name="brush" toName="image"/></View>'
    )
    source: Any = Source()
    task = TaskImage(task={"id": 1, "data": {"pages": ["0", "1", "2"]}}, config=pages, images=source)
    assert list(warm_tasks([task], embeddings=machine.embeddings)) == [Warmed(1, computed=True)]
    assert machine.store.counts.computed == 3
