"""Numbered objects: a number is taken by a conditional write, which the store refuses where the number is taken."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from cachetools import LRUCache

from backend.registry.objects.store import ObjectStore
from backend.registry.refs import name_file, parse_content, sort_numbers

_MOST_READ = 20_000


@dataclass(frozen=True, slots=True)
class ObjectRefs:
    """`Refs` below `refs/` of a store. Content that was read once is not read again, for it never changes."""

    store: ObjectStore
    _read: LRUCache[str, dict[str, object]] = field(default_factory=lambda: LRUCache(_MOST_READ), compare=False)
    _lock: Lock = field(default_factory=Lock, compare=False)

    def list_projects(self) -> tuple[str, ...]:
        """See Refs."""
        return self.store.list_names("refs")

    def list_numbers(self, place: str) -> tuple[int, ...]:
        """See Refs."""
        return sort_numbers(self.store.list_objects(f"refs/{place}"))

    def read(self, place: str, number: int) -> dict[str, object] | None:
        """See Refs."""
        key = f"refs/{place}/{name_file(number)}"
        with self._lock:
            known = self._read.get(key)
        if known is not None:
            return known
        data = self.store.read(key)
        if data is None:
            return None
        content = parse_content(data, where=f"{self.store.url}/{key}")
        with self._lock:
            self._read[key] = content
        return content

    def take(self, place: str, number: int, content: Mapping[str, str | None]) -> bool:
        """See Refs."""
        # Two publishers of the same bytes write the same content: "by" tells whose a number is.
        signed = {**content, "by": secrets.token_hex(8)}
        return self.store.create(f"refs/{place}/{name_file(number)}", json.dumps(signed).encode())
