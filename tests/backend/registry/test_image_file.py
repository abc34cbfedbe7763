"""The images of a training come back as they were stored, without secrets, and only what is well-formed is shown."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadCheckpoint, NotFound
from backend.masks.packed import KeptMask
from backend.registry.image_file import IMAGES_FILE, StoredImage, encode_images, read_images

MASK = KeptMask.of(np.eye(8, dtype=bool))


def image(uri: str | None, *, masks: int = 2) -> StoredImage:
    return StoredImage(
        task_id=3,
        image_uri=uri,
        image_sha256="a" * 64,
        height_px=600,
        width_px=800,
        labels={"Disc": masks} if masks else {},
        masks=[MASK] * masks,
    )


def test_images_come_back_with_their_masks_and_without_the_secrets_of_their_addresses(tmp_path: Path) -> None:
    images = [image("https://bucket/a.png?signature=secret"), image("data:" + "x" * 5000), image(None, masks=0)]
    (tmp_path / IMAGES_FILE).write_bytes(encode_images(images))
    signed, inline, empty = read_images(tmp_path)
    assert signed.image_uri == "https://bucket/a.png?signature=***"
    assert (signed.masks, signed.objects, signed.height_px, signed.width_px) == ((MASK, MASK), 2, 600, 800)
    assert inline.image_uri is None
    assert (empty.objects, empty.masks, empty.task_id) == (0, (), 3)


def test_of_very_many_masks_the_first_are_stored_and_every_image(tmp_path: Path) -> None:
    images = [image("/a.png"), image("/b.png"), image("/c.png")]
    (tmp_path / IMAGES_FILE).write_bytes(encode_images(images, most_masks=3))
    assert [(len(found.masks), found.objects) for found in read_images(tmp_path)] == [(2, 2), (1, 2), (0, 2)]


def test_a_version_without_the_file_and_a_file_that_is_none_of_ours_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="newer versions have it"):
        read_images(tmp_path)
    good = json.loads(encode_images([image("/a.png")]))
    (row,) = good["images"]
    for bad in (
        {"format": 1},
        {"format": 1, "images": [{**row, "size": [0, 5]}]},
        {"format": 1, "images": [{**row, "labels": {"Disc": "many"}}]},
        {"format": 1, "images": [{**row, "masks": [[0, 0, 8, 8, "AAAA"]]}]},
        {"format": 1, "images": [{**row, "sha256": "../a"}]},
    ):
        (tmp_path / IMAGES_FILE).write_text(json.dumps(bad))
        with pytest.raises(BadCheckpoint, match="cannot be read"):
            read_images(tmp_path)
    (tmp_path / IMAGES_FILE).write_text('{"format": 2, "images": []}')
    with pytest.raises(BadCheckpoint, match="upgrade samloop"):
        read_images(tmp_path)
