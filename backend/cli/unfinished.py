"""What `samloop predict` has predicted so far, in a file beside the one that it will write: a kill costs one task."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import BadInput
from backend.files.json_lines import append_line

if TYPE_CHECKING:
    from backend.labelstudio.payloads import LabelStudioJson

ENDING = ".unfinished"


@dataclass(frozen=True, slots=True)
class Predicted:
    """A task with its prediction, and why it has no region; None where it has some."""

    task: "LabelStudioJson"
    why: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The tasks that are predicted, in the order of the export.

    Attributes:
        path: of the file: a line that says which work it is, and a line for every task.
        done: the tasks.
    """

    path: Path
    done: list[Predicted] = field(default_factory=list)

    @classmethod
    def open(cls, out_file: Path, *, of: str) -> "Unfinished":
        """Read what a killed run of the same work left, or begin.

        Args:
            out_file: the file that will be written in the end.
            of: tells this work from other work: the export, the interface and the model.

        Raises:
            BadInput: the file is of other work.
        """
        path, work = out_file.with_name(out_file.name + ENDING), hashlib.sha256(of.encode()).hexdigest()
        lines = _read_lines(path) if path.exists() else []
        if not lines:  # a kill, or a full disk, may have left less than the first line
            path.unlink(missing_ok=True)
            append_line(path, {"work": work}, is_synced=False)
            return cls(path)
        if lines[:1] != [{"work": work}]:
            raise BadInput(
                f"{path} is what a killed run has predicted of another export, or with another interface or model: "
                "repeat that run's command to finish it, delete the file, or name another --out"
            )
        return cls(path, [Predicted(line["task"], line["why"]) for line in lines[1:]])

    def append(self, predicted: Predicted) -> None:
        """Keep a task's prediction: it survives a kill."""
        append_line(self.path, {"task": predicted.task, "why": predicted.why}, is_synced=False)
        self.done.append(predicted)

    def remove(self) -> None:
        """Delete the file: what it holds is written elsewhere."""
        self.path.unlink(missing_ok=True)


def _read_lines(path: Path) -> "list[LabelStudioJson]":
    """The whole lines: of the last, a kill may have left a part."""
    lines = []
    for line in path.read_bytes().split(b"\n"):
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
