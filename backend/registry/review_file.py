"""REVIEW_FILE: a checkpoint's held-out objects, with the masks that the base model and the candidate drew of them.

The file holds masks, not images. So outlines are exact at every zoom, two versions can be overlaid, and no image is
copied into a checkpoint: pages fetch the pixels from the task's image.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from backend.errors import BadCheckpoint, NotFound
from backend.masks.packed import KeptMask
from backend.redaction import redact_address

REVIEW_FILE = "review.json"
PROMPTS = ("box", "point")
MODELS = ("base", "candidate")
MAX_BYTES = 256 << 20
_FORMAT = 2
_READ = (1, 2)  # format 1 has no guesses
_Row = TypeVar("_Row")
LONGEST_URI = 4096  # longer ones are data: URIs, which hold the image itself
_FIGURES = ("iou", "boundary_iou", "over_px", "under_px", "score", "predicted_iou")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnMask:
    """The mask that one model drew for one prompt, and how good it is.

    Attributes:
        over_px, under_px: areas beyond and missing from the annotator's mask, px.
        score: the score that it would be served with, in [0, 1].
        predicted_iou: the decoder's own prediction, which may leave [0, 1].
        mask: on the image, px.
    """

    iou: float
    boundary_iou: float
    over_px: int
    under_px: int
    score: float
    predicted_iou: float
    mask: KeptMask = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelGuess:
    """The label that an object looks most like, of all labels but its own.

    `lead`: the probability of this label less that of the object's own, in [-1, 1].
    """

    label: str
    lead: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedObject:
    """A held-out object.

    Attributes:
        key: twenty hexadecimal digits, the same in every version for the same annotator's mask on the same image.
        image_uri: None where it was too long to store; read from a file, it is as `redact_address` shows it.
        window: the part of the image that shows the object: top, left, height and width, px.
        human: the annotator's mask.
        drawn: the models' masks by (prompt, model), for all PROMPTS and MODELS.
        guess: None where its label could not be compared with others.
    """

    key: str
    task_id: int | str | None
    image_uri: str | None
    image_sha256: str
    label: str
    window: tuple[int, int, int, int]
    human: KeptMask = field(repr=False)
    drawn: Mapping[tuple[str, str], DrawnMask] = field(repr=False)
    guess: LabelGuess | None = None


def hash_object(image_sha256: str, label: str, human: KeptMask) -> str:
    """Return the object's key; see ReviewedObject."""
    facts = json.dumps([image_sha256, label, *human.to_json()])
    return hashlib.sha256(facts.encode()).hexdigest()[:20]


def encode_review(objects: Sequence[ReviewedObject]) -> bytes:
    """Return the file's bytes."""
    return json.dumps({"format": _FORMAT, "objects": [_encode_object(item) for item in objects]}).encode()


def read_review(folder: Path) -> tuple[ReviewedObject, ...]:
    """Read the objects of a checkpoint folder.

    Raises:
        NotFound: the checkpoint has no such file.
        BadCheckpoint: the file is malformed.
    """
    path = folder / REVIEW_FILE
    missing = f"this version was stored without its masks ({path.name} is missing); newer versions keep them"
    return parse_review(read_bounded(path, most=MAX_BYTES, missing=missing), where=path)


def parse_review(data: bytes, *, where: Path) -> tuple[ReviewedObject, ...]:
    """Parse what `encode_review` wrote; errors name `where`.

    Raises:
        BadCheckpoint: the data is malformed.
    """
    return parse_rows(data, where=where, versions=_READ, key="objects", parse=_parse_object)


def read_bounded(path: Path, *, most: int, missing: str) -> bytes:
    """Read a checkpoint's file.

    Args:
        path: the file.
        most: its largest size, in bytes.
        missing: what to say where there is no such file.

    Raises:
        NotFound: there is no such file.
        BadCheckpoint: it is too large.
    """
    try:
        if path.stat().st_size > most:
            raise BadCheckpoint(f"{path} is larger than {most >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError as fault:
        raise NotFound(missing) from fault


def parse_rows(
    data: bytes, *, where: Path, versions: Sequence[int], key: str, parse: Callable[[object], _Row]
) -> tuple[_Row, ...]:
    """Parse a JSON object with a `format` and a list of rows.

    Args:
        data: the text.
        where: named in errors.
        versions: the `format`s that can be parsed, the newest last.
        key: of the list.
        parse: parses a row; raises ValueError, KeyError or TypeError for a malformed one.

    Raises:
        BadCheckpoint: the data is malformed, or of another format.
    """
    try:
        content = json.loads(data)
        if content["format"] in versions:
            return tuple(parse(row) for row in content[key])
    except (ValueError, RecursionError, KeyError, TypeError) as fault:
        raise BadCheckpoint(f"{where} cannot be read: {type(fault).__name__}: {str(fault)[:200]}") from fault
    raise BadCheckpoint(
        f"{where} is of format {str(content['format'])[:20]}, but this samloop reads "
        f"format {versions[-1]}: upgrade samloop"
    )


def _encode_object(item: ReviewedObject) -> dict[str, object]:
    uri = None if item.image_uri is None else redact_address(item.image_uri)
    return {
        "key": item.key,
        "task": item.task_id,
        "image": None if uri is None or len(uri) > LONGEST_URI else uri,
        "sha256": item.image_sha256,
        "label": item.label,
        "window": list(item.window),
        "human": item.human.to_json(),
        "guess": None if item.guess is None else [item.guess.label, round(item.guess.lead, 4)],
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
            **more,
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
                guess=_parse_guess(more.get("guess")),
            )
        case _:
            raise ValueError("an object lacks a field, or has one of the wrong type")


def _parse_guess(value: object) -> LabelGuess | None:
    match value:
        case None:
            return None
        case [str(label), int() | float() as lead] if -1 <= lead <= 1:
            return LabelGuess(label=label, lead=float(lead))
        case _:
            raise ValueError("a guess is no label with a lead from -1 to 1")


def _parse_mask(value: object) -> DrawnMask:
    if not isinstance(value, list) or len(value) != len(_FIGURES) + 1:
        raise ValueError("a mask lacks a figure")
    *figures, mask = value
    if not all(isinstance(figure, int | float) and math.isfinite(figure) for figure in figures):
        raise ValueError("a figure is not a finite number")
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
