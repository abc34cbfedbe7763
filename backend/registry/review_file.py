"""What a checkpoint keeps for people who look at its masks: REVIEW_FILE, every held-out object with what was drawn.

The masks themselves, not images of them: outlines are exact at every zoom, two versions can be laid over one another,
and no image is copied into a checkpoint. The pixels come from where the task has them, when somebody looks.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import BadCheckpoint, NotFound
from backend.masks.packed import KeptMask
from backend.redaction import redact_address

REVIEW_FILE = "review.json"
PROMPTS = ("box", "point")
MODELS = ("base", "candidate")
MAX_BYTES = 256 << 20
_FORMAT = 1
_LONGEST_URI = 4096  # a data: URI holds the image itself, and a checkpoint is no place for it
_FIGURES = ("iou", "boundary_iou", "over_px", "under_px", "score", "predicted_iou")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnMask:
    """What one model drew with one prompt, and how good it is; `over_px` and `under_px` are areas against the human's.

    `score` is what it would be served with, in [0, 1]; `predicted_iou` what the decoder says, as it is.
    """

    iou: float
    boundary_iou: float
    over_px: int
    under_px: int
    score: float
    predicted_iou: float
    mask: KeptMask = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedObject:
    """A held-out object. `window`: top, left, height and width in px of the part of the image that shows it.

    `key`: the same for the same human mask on the same image, in every version: twenty hexadecimal digits. `drawn`: by
    (prompt, model), for all PROMPTS and MODELS. `image_uri`: None if it was too long to be kept; as `redact_address`
    shows it once it was read from the file.
    """

    key: str
    task_id: int | str | None
    image_uri: str | None
    image_sha256: str
    label: str
    window: tuple[int, int, int, int]
    human: KeptMask = field(repr=False)
    drawn: Mapping[tuple[str, str], DrawnMask] = field(repr=False)


def hash_object(image_sha256: str, label: str, human: KeptMask) -> str:
    """The object's name; see ReviewedObject."""
    facts = json.dumps([image_sha256, label, *human.to_json()])
    return hashlib.sha256(facts.encode()).hexdigest()[:20]


def encode_review(objects: Sequence[ReviewedObject]) -> bytes:
    """The file's bytes."""
    return json.dumps({"format": _FORMAT, "objects": [_encode_object(item) for item in objects]}).encode()


def read_review(folder: Path) -> tuple[ReviewedObject, ...]:
    """The objects of a checkpoint folder.

    Raises:
        NotFound: the checkpoint is older than this file, or was made without.
        BadCheckpoint: the file is none of ours.
    """
    path = folder / REVIEW_FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadCheckpoint(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except FileNotFoundError as fault:
        raise NotFound(f"this version kept no masks ({path.name} is missing): versions from now on do") from fault
    return parse_review(data, where=path)


def parse_review(data: bytes, *, where: Path) -> tuple[ReviewedObject, ...]:
    """What `encode_review` wrote; `where` is named by errors.

    Raises:
        BadCheckpoint: it is none of ours.
    """
    try:
        content = json.loads(data)
        if content["format"] == _FORMAT:
            return tuple(_parse_object(item) for item in content["objects"])
    except (ValueError, RecursionError, KeyError, TypeError) as fault:
        raise BadCheckpoint(f"{where} cannot be read: {type(fault).__name__}: {str(fault)[:200]}") from fault
    raise BadCheckpoint(f"{where} is of format {str(content['format'])[:20]}; {_FORMAT} is what is read here")


def _encode_object(item: ReviewedObject) -> dict[str, object]:
    uri = None if item.image_uri is None else redact_address(item.image_uri)
    return {
        "key": item.key,
        "task": item.task_id,
        "image": None if uri is None or len(uri) > _LONGEST_URI else uri,
        "sha256": item.image_sha256,
        "label": item.label,
        "window": list(item.window),
        "human": item.human.to_json(),
        "drawn": {prompt: {model: _encode_mask(item.drawn[prompt, model]) for model in MODELS} for prompt in PROMPTS},
    }


def _encode_mask(drawn: DrawnMask) -> list[Any]:
    return [*(getattr(drawn, name) for name in _FIGURES), drawn.mask.to_json()]


def _parse_object(value: object) -> ReviewedObject:
    match value:
        case {
            "key": str(key),
            "task": int() | str() | None as task,
            "image": str() | None as uri,
            "sha256": str(sha256),
            "label": str(label),
            "window": [int(y0), int(x0), int(height), int(width)],
            "human": human,
            "drawn": dict(drawn),
        } if key.isalnum() and min(y0, x0) >= 0 and min(height, width) > 0:
            return ReviewedObject(
                key=key,
                task_id=task,
                image_uri=uri,
                image_sha256=sha256,
                label=label,
                window=(y0, x0, height, width),
                human=KeptMask.of_json(human),
                drawn={(prompt, model): _parse_mask(drawn[prompt][model]) for prompt in PROMPTS for model in MODELS},
            )
        case _:
            raise ValueError("an object lacks a field, or has one of the wrong type")


def _parse_mask(value: object) -> DrawnMask:
    if not isinstance(value, list) or len(value) != len(_FIGURES) + 1:
        raise ValueError("a mask lacks a figure")
    *figures, mask = value
    if not all(isinstance(figure, int | float) and math.isfinite(figure) for figure in figures):
        raise ValueError("a figure is no finite number")
    iou, boundary_iou, over_px, under_px, score, predicted_iou = figures
    return DrawnMask(
        iou=float(iou),
        boundary_iou=float(boundary_iou),
        over_px=int(over_px),
        under_px=int(under_px),
        score=float(score),
        predicted_iou=float(predicted_iou),
        mask=KeptMask.of_json(mask),
    )
