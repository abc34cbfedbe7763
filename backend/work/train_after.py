"""How many new or changed annotations start a project's training: the environment's number, or the project's own."""

import json
from pathlib import Path

from backend.errors import BadInput, Unavailable
from backend.files.durable import make_inside, write_file
from backend.ids import parse_project_id
from backend.registry.state import ONE_DISK, Sharing
from backend.settings.bounds import TRAIN_AFTER

_FORMAT = 1


class TrainAfter:
    """The projects' numbers, in a file a project. 0: never by itself. Safe for any number of processes.

    Args:
        folder: lies below the registry's state; made for the first number.
        default: the number of projects without a number of their own.
        sharing: brings the numbers to other machines.
    """

    def __init__(self, folder: Path, *, default: int, sharing: Sharing = ONE_DISK) -> None:
        self._folder, self._default, self._sharing = folder, default, sharing

    def of(self, project_id: int) -> int:
        """Return the project's number, within TRAIN_AFTER; the default where its file is missing or cannot be read."""
        self._sharing.pull(self._path(project_id))
        try:
            told = json.loads(self._path(project_id).read_bytes())
        except (OSError, ValueError):
            return self._default
        number = told.get("train_after") if isinstance(told, dict) else None
        return number if isinstance(number, int) and number in TRAIN_AFTER else self._default

    def keep(self, project_id: int, number: int) -> None:
        """Give the project a number of its own.

        Raises:
            BadInput: the number is outside TRAIN_AFTER.
            Unavailable: the folder cannot be written.
        """
        if number not in TRAIN_AFTER:
            raise BadInput(f"a project cannot train after {number} annotations: write a number {TRAIN_AFTER}; 0: never")
        told = {"format": _FORMAT, "train_after": number}
        try:
            make_inside(self._folder.parent, self._folder)
            write_file(self._path(project_id), json.dumps(told).encode())
            self._sharing.push(self._path(project_id))
        except OSError as fault:
            raise Unavailable(f"{self._folder} cannot be written, so nothing was changed: {fault}") from fault

    def _path(self, project_id: int) -> Path:
        return self._folder / f"{parse_project_id(project_id)}.json"
