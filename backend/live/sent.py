"""What we sent in answer to clicks, by region id.

Label Studio keeps predictions, but of a suggestion only what the annotator made of it: without our own copy nothing
could tell how much was changed. One small file a region, the oldest go when there are too many; a region that was
forgotten is counted as unknown, never as untouched.
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

log = logging.getLogger(__name__)
_MOST_BYTES = 64 << 20  # some 20,000 masks of a project
_LARGEST = 64 << 20  # of one region, unpacked
_BLOCK_BYTES = 4096


class SentRegions:
    """Files in one folder. Any number of processes may write, read and sweep at once.

    Args:
        folder: made when the first region is kept; the one it lies in must stand.
        most_bytes: beyond them the oldest go.
    """

    def __init__(self, folder: Path, *, most_bytes: int = _MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._since_sweep = most_bytes  # a process that starts looks first

    def keep(self, regions: Iterable[Region]) -> None:
        """Keep the regions under their ids; what was kept under an id is replaced.

        Raises:
            OSError: the disk is full, read-only or away.
        """
        self._folder.mkdir(exist_ok=True)
        for region in regions:
            if not isinstance(region.get("id"), str):
                continue
            data = zlib.compress(json.dumps(region).encode(), 1)
            path = self._path(region["id"])
            write_file(path, data, is_synced=False)
            self._since_sweep += _count_disk_bytes(len(data))
        if self._since_sweep >= self._most_bytes // 16:
            self._sweep()

    def recall(self, region_ids: Iterable[str]) -> dict[str, Region]:
        """Those regions that are still known, by id."""
        found = {}
        for region_id in region_ids:
            try:
                unpacked = zlib.decompressobj().decompress(self._path(region_id).read_bytes(), _LARGEST)
                found[region_id] = json.loads(unpacked)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, zlib.error) as fault:
                log.warning(
                    "what was sent as %s cannot be read: %s", region_id[:40], fault, extra={"event": "live.unreadable"}
                )
        return found

    def _path(self, region_id: str) -> Path:
        # Not the id itself: a region that was drawn elsewhere and refined here has an id of its maker's choice.
        return self._folder / hashlib.sha256(region_id.encode(errors="surrogatepass")).hexdigest()[:32]

    def _sweep(self) -> None:
        """Down to seven eighths of what is allowed."""
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
            left -= size


def _count_disk_bytes(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
