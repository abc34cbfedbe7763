"""What is kept of a run that is not over, so that the next process goes on at the step it had.

    <folder>/<key>/training-3.state      SHA-256 of what follows, then a safetensors file with JSON in its metadata

The key is a digest of all that decides the outcome: a state that belongs to another recipe, other annotations, another
base or another version of this program has another name, and is never looked at. A file is written whole or not at all
(registry.checkpoint.write_file), holds arrays and JSON only, and is dropped where it is not what its digest says: a
training that cannot go on begins again, it does not fail.
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

log = logging.getLogger(__name__)

_RUNS_KEPT = 4  # one may take five times the trained weights
_OLD_S = 7 * 86400.0
_MOST_BYTES = 16 << 30
_DIGEST_BYTES = 32
_KEY = re.compile(r"[0-9a-f]{64}")
_COSTS_AT_MOST = 0.05  # of the time


@dataclass(frozen=True, slots=True)
class State:
    """Arrays on the CPU by name, and JSON beside them."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    values: Mapping[str, Any]


class Unfinished:
    """The states of one run's trainings; numbers begin at 1.

    Args:
        folder: where runs are kept, those of others too: at most four, and none for longer than a week.
        key: SHA-256 in hexadecimal of all that decides what comes of the run.
        every_s: seconds from one state to the next; more where writing is slow. 0: nothing is kept or looked for.
        writes: of several processes that train together one writes, all read.
    """

    def __init__(self, folder: Path, *, key: str, every_s: float, writes: bool = True) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(f"key={key[:80]!r} is not a SHA-256 in hexadecimal")
        self._root, self._folder, self._every_s = folder, folder / key, every_s
        self._next_s, self._writes = time.monotonic() + every_s, writes

    def load(self, number: int) -> State | None:
        """What was saved of this training last; None if nothing was, or if it cannot be used."""
        if not self._every_s:
            return None
        path = self._path(number)
        try:
            for torn in self._folder.glob(f".{path.name}.*.tmp"):  # what a kill while it was written has left
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
        """Whether it is time to save again."""
        return bool(self._every_s) and self._writes and time.monotonic() >= self._next_s

    def save(self, number: int, state: State) -> None:
        """Keep this in place of what was kept. A disk that is full, or a folder that is away, costs the state alone."""
        if not self._every_s or not self._writes:
            return
        began_s = time.monotonic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._path(number), _file_of(state))
            self._make_room()
        except OSError as fault:
            log.warning(
                "the training goes on, but a kill would set it back: %s cannot be written: %s",
                self._folder,
                fault,
                extra={"event": "training.not_saved"},
            )
        ended_s = time.monotonic()
        self._next_s = ended_s + max(self._every_s, (ended_s - began_s) / _COSTS_AT_MOST)

    def forget(self, number: int, *, why: str) -> None:
        """Drop a state that cannot be used."""
        log.warning(
            "%s cannot be used, so the training begins again: %s",
            self._path(number),
            why[:200],
            extra={"event": "training.state_refused"},
        )
        if not self._writes:
            return
        with suppress(OSError):
            self._path(number).unlink()

    def clear(self) -> None:
        """The run is over: nothing of it is needed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._root.rmdir()  # where it held no other run

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
    """SHA-256 of these facts, which are JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file_of(state: State) -> bytes:
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    data = safetensors.torch.save(tensors, metadata={"values": json.dumps(dict(state.values))})
    return hashlib.sha256(data).digest() + data


def _parse(file: BufferedReader) -> State:
    """Raises ValueError, KeyError, TypeError or SafetensorError for anything but the bytes that `_file_of` wrote."""
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
