"""A task and where its image is, whatever a client sent."""

from typing import Any

import pytest

from backend.errors import BadInput
from backend.labelstudio.label_config import parse_label_config
from backend.serving.task_image import TaskImage

CONFIG = parse_label_config(
    '<View><Image name="image" value="$photo"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


class Source:
    """Stands in for ImageSource: notes what it is asked for."""

    name = "a studio"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []

    def fetch(self, uri: str, *, task_id: int | None = None) -> bytes:
        self.asked.append((uri, task_id))
        return b"pixels"


def image_of(task: dict[str, Any], source: Any = None) -> TaskImage:
    return TaskImage(task=task, config=CONFIG, images=source or Source(), project_id=7)


def test_the_image_is_fetched_from_where_the_labelling_config_reads_it_for_its_task() -> None:
    source = Source()
    image = image_of({"id": 3, "data": {"photo": "/data/upload/1/a.png", "image": "elsewhere"}}, source)
    assert image.uri == "/data/upload/1/a.png"
    assert image.fetch() == b"pixels"
    assert source.asked == [("/data/upload/1/a.png", 3)]


@pytest.mark.parametrize("data", [None, [], {}, {"photo": None}, {"photo": ""}, {"photo": []}])
def test_a_task_without_an_image_there_is_named_with_the_place(data: object) -> None:
    source = Source()
    with pytest.raises(BadInput, match=r"task 3 has no image in data\['photo'\]"):
        image_of({"id": 3, "data": data}, source).fetch()
    assert not source.asked


@pytest.mark.parametrize(("task_id", "number"), [(3, 3), ("3", 3), ("x", None), (None, None), ([3], None)])
def test_a_number_or_its_digits_are_a_tasks_id(task_id: object, number: int | None) -> None:
    assert image_of({"id": task_id, "data": {}}).task_id == number


def test_logs_show_forty_characters_of_an_id_at_most() -> None:
    assert image_of({"id": "x" * 5000}).name == "x" * 40
