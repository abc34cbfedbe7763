"""What an export tells of a project's labelling configuration: the controls that people drew with."""

from typing import Any

import pytest

from backend.labelstudio.export import recover_config
from backend.labelstudio.label_config import Control, LabelsTag


def region(kind: str, name: str, *, label: str | None = None, **more: Any) -> dict[str, Any]:
    value = {kind: [label]} if label else {}
    return {"type": kind, "from_name": name, "to_name": "picture", "value": value, **more}


def task(*regions: Any, image: str = "/data/upload/1/a.png") -> dict[str, Any]:
    return {"id": 1, "data": {"text": "a photo", "photo": image}, "annotations": [{"result": list(regions)}]}


def test_controls_stand_in_the_order_of_their_first_region_with_the_labels_that_were_used() -> None:
    tasks = [
        task(region("brushlabels", "tag", label="Disc"), region("choices", "quality", label="good")),
        task(region("ellipselabels", "round", label="Ring"), region("brushlabels", "tag", label="Arc")),
    ]
    config = recover_config(tasks)
    assert (config.image_name, config.image_key) == ("picture", "photo")
    assert config.controls == (
        Control("brushlabels", "tag", "picture", ("Arc", "Disc")),
        Control("ellipselabels", "round", "picture", ("Ring",)),
    )


def test_labels_of_a_labels_tag_belong_to_the_controls_beside_it() -> None:
    drawn, named = region("ellipse", "round", id="r"), region("labels", "kind", label="Cell", id="r")
    (control,) = recover_config([task(drawn, named)]).controls
    assert control == Control("ellipse", "round", "picture", ("Cell",), labels_beside=(LabelsTag("kind", ("Cell",)),))


@pytest.mark.parametrize(
    "tasks",
    [[], [None, 5], [{"id": 1}], [task()], [task(None, {}, {"type": "brushlabels"})], [task(region("keypoint", "kp"))]],
)
def test_an_export_without_a_drawing_takes_every_label(tasks: list[Any]) -> None:
    assert recover_config(tasks).controls == (Control("brushlabels", "label", "image"),)
