"""Numbered objects: a number is taken by a conditional write, which the store refuses where the number is taken."""

import json
import secrets
import threading
import time
from collections.abc import Mapping

from cachetools import LRUCache

from backend.registry.objects.last_seen import SeenRefs
from backend.registry.objects.store import ObjectStore
from backend.registry.refs import name_file, parse_content, sort_numbers

_MOST_READ = 20_000
_FRESH_S = 0.25  # how long a listing counts as up to date, if it was quick
_COSTS_AT_MOST = 0.25  # of the time


class ObjectRefs:
    """`Refs` below `refs/` of a store, for any number of threads.

    One listing answers for all projects, for a quarter of a second: a look at all of them costs one request for every
    thousand versions and decisions. Content that was read once is not read again, for it never changes.

    Args:
        store: the registry's.
        seen: where this machine writes down what it read.
    """

    def __init__(self, store: ObjectStore, seen: SeenRefs) -> None:
        self.store, self._seen = store, seen
        self._read: LRUCache[str, dict[str, object]] = LRUCache(_MOST_READ)
        self._places: Mapping[str, tuple[int, ...]] = {}
        self._fresh_until_s, self._changes = 0.0, 0
        self._lock = threading.Lock()

    def list_projects(self) -> tuple[str, ...]:
        """See Refs."""
        return tuple({place.partition("/")[0] for place in self._list()})

    def list_numbers(self, place: str) -> tuple[int, ...]:
        """See Refs."""
        return self._list().get(place, ())

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
        self._seen.note(place, number, data)
        with self._lock:
            self._read[key] = content
        return content

    def take(self, place: str, number: int, content: Mapping[str, str | None]) -> bool:
        """See Refs."""
        # Two publishers of the same bytes write the same content: "by" tells whose a number is.
        signed = {**content, "by": secrets.token_hex(8)}
        try:
            return self.store.create(f"refs/{place}/{name_file(number)}", json.dumps(signed).encode())
        finally:
            self.forget_listing()  # it lacks this number, or the one that somebody else has taken

    def forget_listing(self) -> None:
        """List anew at the next question."""
        with self._lock:
            self._fresh_until_s, self._changes = 0.0, self._changes + 1

    def _list(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers that are taken, by place."""
        with self._lock:
            if time.monotonic() < self._fresh_until_s:
                return self._places
            changes = self._changes
        began_s = time.monotonic()
        names: dict[str, list[str]] = {}
        for key in self.store.list_objects("refs"):
            place, _, name = key.rpartition("/")
            names.setdefault(place, []).append(name)
        if not names:
            self.store.check_there()
        places = {place: sort_numbers(found) for place, found in names.items()}
        ended_s = time.monotonic()
        with self._lock:
            if changes == self._changes:
                self._places = places
                self._fresh_until_s = ended_s + max(_FRESH_S, (ended_s - began_s) / _COSTS_AT_MOST)
        return places
