"""IMAGES_FILE: the images that a training learnt from or measured on, with what people drew on them.

Like the review file it holds masks and no pixels: pages fetch those from the task's image. Masks are as small as the
pages show them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.masks.packed import KeptMask
from backend.redaction import redact_address
from backend.registry.review_file import LONGEST_URI, parse_rows, read_bounded

IMAGES_FILE = "images.json"
VIEW_PX = 320  # the longer side of the view in which masks are stored
MOST_MASKS = 50_000  # of a version: some ten MB
MAX_BYTES = 64 << 20
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An annotated image of a training.

    Attributes:
        task_id: None where the export named none.
        image_uri: None where it was too long to store; read from a file, it is as `redact_address` shows it.
        image_sha256: the digest of the file's bytes.
        height_px, width_px: of the upright image.
        labels: how many objects have which label; empty for an image that was submitted empty.
        masks: the objects' masks, in px of a view of at most VIEW_PX; fewer than objects beyond MOST_MASKS.
    """

    task_id: int | str | None
    image_uri: str | None
    image_sha256: str
    height_px: int
    width_px: int
    labels: Mapping[str, int]
    masks: Sequence[KeptMask] = field(repr=False)

    @property
    def objects(self) -> int:
        """How many objects people drew on it."""
        return sum(self.labels.values())


def encode_images(images: Iterable[StoredImage], *, most_masks: int = MOST_MASKS) -> bytes:
    """Return the file's bytes. Of more than `most_masks` masks the first are stored."""
    rows, left = [], most_masks
    for image in images:
        masks = image.masks[:left]
        left -= len(masks)
        rows.append(_encode_image(image, masks))
    return json.dumps({"format": _FORMAT, "images": rows}).encode()


def read_images(folder: Path) -> tuple[StoredImage, ...]:
    """Read the images of a checkpoint folder.

    Raises:
        NotFound: the checkpoint has no such file.
        BadCheckpoint: the file is malformed.
    """
    path = folder / IMAGES_FILE
    missing = f"this version was stored without a list of its images ({path.name} is missing); newer versions have it"
    data = read_bounded(path, most=MAX_BYTES, missing=missing)
    return parse_rows(data, where=path, versions=(_FORMAT,), key="images", parse=_parse_image)


def _encode_image(image: StoredImage, masks: Sequence[KeptMask]) -> dict[str, object]:
    uri = None if image.image_uri is None else redact_address(image.image_uri)
    return {
        "task": image.task_id,
        "image": None if uri is None or len(uri) > LONGEST_URI else uri,
        "sha256": image.image_sha256,
        "size": [image.height_px, image.width_px],
        "labels": dict(image.labels),
        "masks": [mask.to_json() for mask in masks],
    }


def _parse_image(value: object) -> StoredImage:
    match value:
        case {
            "task": int() | str() | None as task,
            "image": str() | None as uri,
            "sha256": str(sha256),
            "size": [int(height), int(width)],
            "labels": dict(labels),
            "masks": list(masks),
        } if min(height, width) > 0 and sha256.isalnum() and all(isinstance(count, int) for count in labels.values()):
            return StoredImage(
                task_id=task,
                image_uri=uri,
                image_sha256=sha256,
                height_px=height,
                width_px=width,
                labels=labels,
                masks=tuple(KeptMask.of_json(mask) for mask in masks),
            )
        case _:
            raise ValueError("an image lacks a field, or has one of the wrong type")
