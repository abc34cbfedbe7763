"""Annotators who click without a pause, and what came of it: answered, told to come again, failed, mixed."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import requests
from benchmarks.clients import CLICKS, Clients

_PAUSE_S = 0.05

Send = Callable[[dict[str, object]], requests.Response | None]  # None: counted by the sender


@dataclass
class Counts:
    """What was done and what came of it.

    Attributes:
        done: how often.
        kills: the harm that was done, by kind.
        rles: the mask of every version, image and click.
        faults: what failed, in words.
    """

    done: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    rles: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        """Count one more."""
        with self.lock:
            self.done[what] += 1

    def fail(self, why: str) -> None:
        """Count a request that must not have failed."""
        self.faults.append(why)
        self.add("failed")

    @property
    def versions(self) -> set[str]:
        """Who answered."""
        with self.lock:
            return {version for version, *_ in self.rles}

    def click(self, over: threading.Event, *, clients: Clients, images: int, chance: random.Random, send: Send) -> None:
        """Click on images until it is over; an answer is of one version, and always the same of that version."""
        while not over.wait(_PAUSE_S):
            place = (chance.randrange(images), chance.randrange(len(CLICKS)))
            reply = send(clients.body(place))
            if reply is None:
                continue
            if reply.status_code == 503:
                self.add("clicks told to come again (503)")
            elif not reply.ok:
                self.fail(f"{reply.status_code}: {reply.text[:300]}")
            else:
                self._compare(place, reply.json()["results"][0])

    def _compare(self, place: tuple[int, int], prediction: dict[str, object]) -> None:
        self.add("clicks answered")
        version, regions = str(prediction["model_version"]), prediction["result"]
        assert isinstance(regions, list)
        rle = b"".join(bytes(region["value"]["rle"]) for region in regions)
        with self.lock:
            known = self.rles.setdefault((version, *place), rle)
        if known != rle or any(region["meta"]["model_version"] != version for region in regions):
            self.add("mixed")
