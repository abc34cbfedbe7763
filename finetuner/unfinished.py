"""Saves the states of unfinished trainings, so that the next process resumes at the same step.

    <folder>/<key>/training-3.state      SHA-256 of what follows, then a safetensors file with JSON in its metadata

The key is a digest of everything that decides the outcome. A state of another recipe, of other annotations, of another
base or version of the program has another key, and is never read. A file is written whole or not at all
(files.durable.write_file), and holds only arrays and JSON. A file that does not match its digest is deleted: its
training then starts again instead of failing.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from backend.errors import BadCheckpoint, Unavailable
from backend.files.durable import open_plain, write_file
from backend.registry.state import ONE_DISK, Sharing

log = logging.getLogger(__name__)

_RUNS_KEPT = 4  # a run may take five times the size of the trained weights
_OLD_S = 7 * 86400.0
_MOST_BYTES = 16 << 30
_DIGEST_BYTES = 32
_KEY = re.compile(r"[0-9a-f]{64}")
_COSTS_AT_MOST = 0.05  # share of the time that saving may take


@dataclass(frozen=True, slots=True)
class State:
    """A saved state: arrays by name, and JSON values."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    values: Mapping[str, Any]


class Unfinished:
    """The saved states of one run's trainings, which are numbered from 1.

    Args:
        folder: the folder of all runs, which keeps at most four runs and none for longer than a week.
        key: the hexadecimal SHA-256 of everything that decides the run's outcome.
        every_s: the seconds between two states, more if writing is slow; 0 neither saves nor loads states.
        sharing: brings states to the machines of other workers.
        writes: whether this process writes; of several that train together only one writes, and all read.
    """

    def __init__(
        self, folder: Path, *, key: str, every_s: float, writes: bool = True, sharing: Sharing = ONE_DISK
    ) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(f"key={key[:80]!r} is not a SHA-256 in hexadecimal")
        self._root, self._folder, self._every_s = folder, folder / key, every_s
        self._next_s, self._writes, self._sharing = time.monotonic() + every_s, writes, sharing

    def load(self, number: int) -> State | None:
        """The last saved state of this training; None if there is none, or if it is damaged."""
        if not self._every_s:
            return None
        path = self._path(number)
        self._sharing.pull(path)
        try:
            for torn in self._folder.glob(f".{path.name}.*.tmp"):  # left by a kill during a write
                if self._writes:
                    torn.unlink(missing_ok=True)
            with open_plain(path) as file:
                return _parse(file)
        except (FileNotFoundError, NotADirectoryError, Unavailable):
            return None
        except (OSError, BadCheckpoint, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as fault:
            self.forget(number, why=str(fault))
            return None

    def is_due(self) -> bool:
        """Whether the next state is due."""
        return bool(self._every_s) and self._writes and time.monotonic() >= self._next_s

    def save(self, number: int, state: State) -> None:
        """Replace the training's saved state. A full disk or an unreachable folder costs only the state."""
        if not self._every_s or not self._writes:
            return
        began_s = time.monotonic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._path(number), _file_of(state))
            self._sharing.push(self._path(number))
            self._make_room()
        except OSError as fault:
            log.warning(
                "the training continues, but a kill would lose its progress: %s cannot be written: %s",
                self._folder,
                fault,
                extra={"event": "training.not_saved"},
            )
        ended_s = time.monotonic()
        self._next_s = ended_s + max(self._every_s, (ended_s - began_s) / _COSTS_AT_MOST)

    def forget(self, number: int, *, why: str) -> None:
        """Delete a state that cannot be used, and log the reason."""
        log.warning(
            "%s cannot be used, so the training starts again: %s",
            self._path(number),
            why[:200],
            extra={"event": "training.state_refused"},
        )
        if not self._writes:
            return
        self._sharing.drop(self._path(number))
        with suppress(OSError):
            self._path(number).unlink()

    def clear(self) -> None:
        """Delete all states of the run, once it is over."""
        self._sharing.drop(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._root.rmdir()  # fails if other runs have states there

    def _make_room(self) -> None:
        others = sorted(
            (_find_change_s(folder), folder)
            for folder in self._root.iterdir()
            if _KEY.fullmatch(folder.name) and folder != self._folder
        )
        for place, (changed_s, path) in enumerate(reversed(others), start=1):
            if place >= _RUNS_KEPT or time.time() - changed_s > _OLD_S:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"training-{number}.state"


def run_key(facts: Mapping[str, object]) -> str:
    """The hexadecimal SHA-256 of these facts, which are JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file_of(state: State) -> bytes:
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    data = safetensors.torch.save(tensors, metadata={"values": json.dumps(dict(state.values))})
    return hashlib.sha256(data).digest() + data


def _parse(file: BufferedReader) -> State:
    """Parse the bytes that `_file_of` wrote.

    Raises:
        ValueError, KeyError, TypeError, SafetensorError: the file has other bytes.
    """
    if (size := os.fstat(file.fileno()).st_size) > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes")
    digest, body = file.read(_DIGEST_BYTES), file.read()
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its digest is wrong")
    tensors = safetensors.torch.load(body)  # first: it checks the header's length
    values = json.loads(json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]["values"])
    if not isinstance(values, dict):
        raise ValueError(f"its values are {type(values).__name__}, not an object")  # noqa: TRY004 - a file, not a caller
    return State(tensors=tensors, values=values)


def _find_change_s(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
