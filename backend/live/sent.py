"""The regions that we sent in answer to clicks, by region id.

Label Studio keeps predictions, but of a suggestion only what the annotator made of it. Only our own copy shows how much
the annotator changed. A region is one small file, and the oldest files go when there are too many. A region that was
dropped counts as unknown, never as untouched.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from backend.files.durable import write_file
from backend.labelstudio.payloads import Region
from backend.registry.state import ONE_DISK, Sharing

log = logging.getLogger(__name__)
_MOST_BYTES = 64 << 20  # a project; some 20,000 masks
_LARGEST = 64 << 20  # a region, unpacked
_BLOCK_BYTES = 4096


class SentRegions:
    """Sent regions, as files in one folder. Any number of processes may write, read and sweep at once.

    Args:
        folder: made for the first region; its parent must exist.
        most_bytes: beyond this size the oldest regions go.
        sharing: brings regions to other machines, whose clicks another server may have answered.
    """

    def __init__(self, folder: Path, *, most_bytes: int = _MOST_BYTES, sharing: Sharing = ONE_DISK) -> None:
        self._folder, self._most_bytes, self._sharing = folder, most_bytes, sharing
        self._since_sweep = most_bytes  # a new process sweeps first

    def keep(self, regions: Iterable[Region]) -> None:
        """Keep the regions under their ids. A region replaces an earlier one of its id.

        Raises:
            OSError: the disk is full, read-only or not mounted.
        """
        self._folder.mkdir(exist_ok=True)
        for region in regions:
            if not isinstance(region.get("id"), str):
                continue
            data = zlib.compress(json.dumps(region).encode(), 1)
            path = self._path(region["id"])
            write_file(path, data, is_synced=False)
            self._sharing.push(path)
            self._since_sweep += _count_disk_bytes(len(data))
        if self._since_sweep >= self._most_bytes // 16:
            self._sweep()

    def recall(self, region_ids: Iterable[str]) -> dict[str, Region]:
        """Return those of the regions that are still here, by id."""
        regions = {}
        for region_id in region_ids:
            path = self._path(region_id)
            if not path.exists():
                self._sharing.pull(path)
            try:
                unpacked = zlib.decompressobj().decompress(path.read_bytes(), _LARGEST)
                regions[region_id] = json.loads(unpacked)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, zlib.error) as fault:
                log.warning(
                    "the region that was sent as %s cannot be read: %s",
                    region_id[:40],
                    fault,
                    extra={"event": "live.unreadable"},
                )
        return regions

    def _path(self, region_id: str) -> Path:
        # Not the id itself: a region that was drawn elsewhere and refined here has an id that its maker chose.
        return self._folder / hashlib.sha256(region_id.encode(errors="surrogatepass")).hexdigest()[:32]

    def _sweep(self) -> None:
        """Delete the oldest files, down to seven eighths of the limit."""
        entries = []
        for entry in os.scandir(self._folder):
            try:
                entries.append((entry.stat().st_mtime, _count_disk_bytes(entry.stat().st_size), entry.path))
            except FileNotFoundError:
                continue
        left = sum(size for _, size, _ in entries)
        self._since_sweep = 0
        if left <= self._most_bytes:
            return
        for _, size, path in sorted(entries):
            if left <= self._most_bytes * 7 // 8:
                return
            Path(path).unlink(missing_ok=True)
            self._sharing.drop(Path(path))
            left -= size


def _count_disk_bytes(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
