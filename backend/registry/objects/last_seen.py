"""What this machine saw last of a registry in a store, for a server that starts while the store cannot be reached.

refs/<project>/<kind>/000000007.json     as this machine read it; the checkpoints lie beside, as verified copies
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from backend.errors import Unavailable
from backend.files.durable import write_file
from backend.registry.checkpoint import Manifest, parse_manifest
from backend.registry.numbered import NumberedReader
from backend.registry.objects.cache import CheckpointCache
from backend.registry.pointers import Pointers
from backend.registry.refs import name_file, parse_content, sort_numbers


class SeenRefs:
    """Numbered objects of a store, as files in `root` on this machine's disk: those that were read, and no others."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def note(self, place: str, number: int, data: bytes) -> None:
        """Write down what was read. A disk that takes nothing costs this machine a start without its store alone."""
        path = self._root / place / name_file(number)
        with suppress(OSError):
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, data, is_synced=False)

    def list_projects(self) -> tuple[str, ...]:
        """List the folders of projects by name."""
        return _list_names(self._root)

    def list_numbers(self, place: str) -> tuple[int, ...]:
        """List the numbers that were read, ascending."""
        return sort_numbers(_list_names(self._root / place))

    def read(self, place: str, number: int) -> dict[str, object] | None:
        """Read what was written down under this number; None where nothing was.

        Raises:
            BadCheckpoint: the file is not a JSON object.
        """
        path = self._root / place / name_file(number)
        try:
            return parse_content(path.read_bytes(), where=str(path))
        except OSError:
            return None

    def take(self, place: str, number: int, content: Mapping[str, str | None]) -> bool:
        """Take no number, for only the store gives numbers.

        Raises:
            Unavailable: always.
        """
        raise Unavailable(f"the store gives the numbers of {place}: {number} for {content} cannot be taken without it")


class LastSeen(NumberedReader):
    """The decisions that this machine read last, and the versions of which it has a verified copy."""

    def __init__(self, refs: SeenRefs, *, copies: CheckpointCache) -> None:
        super().__init__(Pointers(refs))
        self._copies = copies

    def materialise(self, version: str) -> Path:
        """Return the verified copy.

        Raises:
            Unavailable: there is no copy, or a damaged one.
        """
        return self._copies.fetch(self._sha256(version), fill=_miss_copy)

    def _read_manifest(self, sha256: str) -> Manifest:
        data = self._copies.fetch_manifest(sha256, read=_miss_copy)
        return parse_manifest(data, where=Path(f"objects/{sha256}"))


def _list_names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(os.listdir(folder))  # noqa: PTH208 - names are wanted, not paths
    except OSError:
        return ()


def _miss_copy(*_: Path) -> NoReturn:
    raise Unavailable("this machine has no copy of the version")
