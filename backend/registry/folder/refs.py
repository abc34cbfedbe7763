"""Numbered files in a folder."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.files.durable import make_folder, sync_folder, write_new
from backend.registry.folder.disk import Disk
from backend.registry.refs import name_file, parse_content, sort_numbers


@dataclass(frozen=True, slots=True)
class FolderRefs:
    """`Refs` in the folder `refs` of a disk that has hard links; `staging` is a folder on the same disk."""

    disk: Disk
    staging: Path

    def list_projects(self) -> tuple[str, ...]:
        """See Refs."""
        with self.disk.reading():
            folder = self.disk.root / "refs"
            return tuple(path.name for path in folder.iterdir()) if folder.is_dir() else ()

    def list_numbers(self, place: str) -> tuple[int, ...]:
        """See Refs."""
        with self.disk.reading():
            try:
                return sort_numbers(os.listdir(self._folder(place)))  # noqa: PTH208 - names are wanted, not paths
            except FileNotFoundError:
                return ()

    def read(self, place: str, number: int) -> dict[str, object] | None:
        """See Refs."""
        path = self._folder(place) / name_file(number)
        with self.disk.reading():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        return parse_content(data, where=str(path))

    def take(self, place: str, number: int, content: Mapping[str, str | None]) -> bool:
        """See Refs: a finished file gets its name by a hard link, which fails where the name exists."""
        folder = self._folder(place)
        temporary = self.staging / f"{secrets.token_hex(16)}.json"
        with self.disk.writing():
            make_folder(folder)
            make_folder(self.staging)
            try:
                write_new(temporary, json.dumps(content).encode())
                os.link(temporary, folder / name_file(number))
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(folder)
        return True

    def _folder(self, place: str) -> Path:
        return self.disk.root / "refs" / place
