"""Beside a checkpoint lie the images of both sides, with their objects at the size at which pages show them."""

from pathlib import Path

import numpy as np

from backend.registry.image_file import IMAGES_FILE, read_images
from finetuner.data.dataset import Dataset
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.data.split import Split
from finetuner.report.images import make_image_file


def _sample(task_id: int, *labels: str | None) -> Sample:
    mask = np.zeros((480, 640), bool)
    mask[100:200, 300:500] = True
    objects = tuple(LabelledMask.of(mask, label=label) for label in labels)
    return Sample(image_sha256=f"{task_id:064x}", height_px=480, width_px=640, objects=objects, task_id=task_id)


def test_every_image_is_written_once_with_its_labels_and_small_masks(tmp_path: Path) -> None:
    learnt, held_out, empty = _sample(1, "Disc", "Disc", None), _sample(2, "Ring"), _sample(3)
    dataset = Dataset(
        train=(learnt, held_out),
        held_out=(held_out,),
        folds=(),
        empty=(((empty,), ()),),
        split=Split(folds=()),
        digest="",
    )
    (tmp_path / IMAGES_FILE).write_bytes(make_image_file(dataset))
    images = read_images(tmp_path)
    assert [(image.task_id, dict(image.labels)) for image in images] == [
        (1, {"Disc": 2, "(none)": 1}),
        (2, {"Ring": 1}),
        (3, {}),
    ]
    small = images[0].masks[0].window(0, 0, height_px=240, width_px=320)
    assert small[50:100, 150:250].all()
    assert small.sum() == 50 * 100
