"""The lines of a ledger's file, as values and as JSON.

    {"k": "seen", "v": 1, "a": 5, "t": 7, "at": updated_at, "p": process, "s": seconds}
    {"k": "done", "v": 1, "a": 5, "at": updated_at, "lead_s": 3.2,
     "m": [[version, label, iou, boundary_iou, untouched], ...]}
    {"k": "kept", "v": 1, "a": 5, "at": updated_at}
    {"k": "gone", "v": 1, "a": 5}
    {"k": "from", "v": 1, "id": "..."}

Lines without "v" are older than the version field and mean the same.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

VERSION = 1
JsonLine: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMask:
    """What became of one mask of ours: its IoU and Boundary IoU, in [0, 1], with the mask submitted in its place.

    `untouched`: the pixels and the label are the same. A deleted mask has 0, 0 and False.
    """

    version: str
    label: str
    iou: float
    boundary_iou: float
    untouched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An annotation waits to be compared in its state `at`; `process` learned of it at `seen_s` (Unix time, s)."""

    kind: ClassVar[str] = "seen"
    annotation_id: int
    task_id: int
    at: str
    process: str
    seen_s: float

    def to_json(self) -> JsonLine:
        """Return the line as JSON."""
        return _write_line(self.kind, a=self.annotation_id, t=self.task_id, at=self.at, p=self.process, s=self.seen_s)

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Self | None:
        """Return the line in the JSON, or None where the JSON lacks a part."""
        match line:
            case {"a": int(a), "t": int(task), "at": str(at), "p": str(process), "s": float(seen_s)}:
                return cls(annotation_id=a, task_id=task, at=at, process=process, seen_s=seen_s)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An annotation was compared in its state `at`. `lead_s`: the annotator's lead time, s; None where unknown."""

    kind: ClassVar[str] = "done"
    annotation_id: int
    at: str
    lead_s: float | None
    masks: tuple[ComparedMask, ...]

    def to_json(self) -> JsonLine:
        """Return the line as JSON."""
        masks = [[mask.version, mask.label, mask.iou, mask.boundary_iou, mask.untouched] for mask in self.masks]
        return _write_line(self.kind, a=self.annotation_id, at=self.at, lead_s=self.lead_s, m=masks)

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Self | None:
        """Return the line in the JSON, or None where the JSON lacks a part."""
        match line:
            case {"a": int(a), "at": str(at), "m": list(masks)}:
                lead_s = line.get("lead_s")
                return cls(
                    annotation_id=a,
                    at=at,
                    lead_s=lead_s if isinstance(lead_s, float) else None,
                    masks=tuple(_read_masks(masks)),
                )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The masks that an annotation began with are no longer known: its earlier comparison still counts."""

    kind: ClassVar[str] = "kept"
    annotation_id: int
    at: str

    def to_json(self) -> JsonLine:
        """Return the line as JSON."""
        return _write_line(self.kind, a=self.annotation_id, at=self.at)

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Self | None:
        """Return the line in the JSON, or None where the JSON lacks a part."""
        match line:
            case {"a": int(a), "at": str(at)}:
                return cls(annotation_id=a, at=at)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """An annotation was deleted or skipped."""

    kind: ClassVar[str] = "gone"
    annotation_id: int

    def to_json(self) -> JsonLine:
        """Return the line as JSON."""
        return _write_line(self.kind, a=self.annotation_id)

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Self | None:
        """Return the line in the JSON, or None where the JSON lacks a part."""
        match line:
            case {"a": int(a)}:
                return cls(annotation_id=a)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """The first line of a compacted file. No other file has the same `id`."""

    kind: ClassVar[str] = "from"
    id: str

    def to_json(self) -> JsonLine:
        """Return the line as JSON."""
        return _write_line(self.kind, id=self.id)

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Self | None:
        """Return the line in the JSON, or None where the JSON lacks a part."""
        match line:
            case {"id": str(id_)}:
                return cls(id=id_)
        return None


Line: TypeAlias = Seen | Done | Kept | Gone | From


_KINDS: Mapping[object, type[Line]] = {line.kind: line for line in (Seen, Done, Kept, Gone, From)}


def parse_line(line: object) -> Line | None:
    """Parse a JSON value as a line; None for any other value, and for a line of a later version than ours."""
    if not isinstance(line, Mapping) or line.get("v", VERSION) != VERSION:
        return None
    kind = _KINDS.get(line.get("k")) if isinstance(line.get("k"), str) else None
    return kind.from_json(line) if kind else None


def to_bytes(line: Line) -> bytes:
    """Return the line as the file holds it, with its newline."""
    return json.dumps(line.to_json()).encode() + b"\n"


def _write_line(kind: str, **values: object) -> JsonLine:
    return {"k": kind, "v": VERSION, **values}


def _read_masks(masks: list[object]) -> Iterator[ComparedMask]:
    for mask in masks:
        match mask:
            case [str(version), str(label), float(iou), float(boundary_iou), bool(untouched)]:
                yield ComparedMask(
                    version=version, label=label, iou=iou, boundary_iou=boundary_iou, untouched=untouched
                )
