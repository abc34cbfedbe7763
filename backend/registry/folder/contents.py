"""Published checkpoints: immutable folders, named by the SHA-256 of their manifests.

    objects/<sha256 of manifest.json>/       model.safetensors, report.html, manifest.json
    objects/.<sha256>.<random>.tmp/          an unfinished folder of this kind
    staging/                                 files that publishers are writing

A folder is complete before it gets its name, so a killed publisher leaves nothing that can be read in part.
"""

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.files.durable import fill_folder, make_folder, sync_folder, write_file
from backend.registry.checkpoint import MANIFEST_FILE, Manifest


class Contents:
    """The folders `objects` and `staging` below `root`. Every method may raise OSError."""

    def __init__(self, root: Path) -> None:
        self._objects, self._staging = root / "objects", root / "staging"

    @property
    def staging(self) -> Path:
        """The folder of files without their final names, on the same disk."""
        return self._staging

    def folder(self, sha256: str) -> Path:
        """The folder of the checkpoint whose manifest has this digest."""
        return self._objects / sha256

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Give a path for a new folder, and delete the folder afterwards."""
        folder = self._staging / secrets.token_hex(16)
        make_folder(folder.parent)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, staged: Path, manifest: Manifest) -> str:
        """Make a checkpoint of this manifest and the files in `staged` that it names; return its digest."""
        data = manifest.to_json().encode()
        sha256 = hashlib.sha256(data).hexdigest()
        make_folder(self._objects)
        try:
            with fill_folder(self.folder(sha256)) as folder:
                for name in manifest.files:
                    os.link(staged / name, folder / name)
                write_file(folder / MANIFEST_FILE, data)
        except OSError as fault:
            # The object exists: another publisher of the same bytes is a step ahead, or was killed before it wrote its
            # pointer. Objects of the same name are equal, so a pointer may name this one.
            if fault.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            sync_folder(self._objects)
        return sha256

    def sweep(self, *, named: Collection[str], older_than_s: float) -> int:
        """Delete folders that are not `named` (by digest) and are older than `older_than_s`; return how many."""
        left = [
            path
            for folder in (self._staging, self._objects)
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.name not in named and _measure_age_s(path) >= older_than_s
        ]
        for path in left:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return len(left)


def _measure_age_s(path: Path) -> float:
    """Seconds since the last change; below zero for a path that is gone."""
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except FileNotFoundError:
        return -1.0
