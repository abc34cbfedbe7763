"""Versions are swapped in under clicks, every tenth of them corrupt in one way or another, and then for a while none.

python tests/benchmarks/swaps.py [--swaps 200]      the rows of `make chaos`; those in bold must be zero

A click is counted to the swaps or to the quiet by when it began. Spells take turns and have the same number of clicks,
so that both have the same machine. All versions are published before the first click, and the publisher asks what is
served in both kinds of spell: they differ by the swaps alone.
"""

import argparse
import pickle
import random
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import requests
import safetensors.torch
import torch
from benchmarks.annotators import Counts
from benchmarks.clients import CONFIG, Clients, pictures, project
from benchmarks.pages import say
from fakes.serving import Served, served
from support.checkpoints import make_manifest
from support.small_bases import save_small_sam
from support.waiting import wait_until

from backend.registry.checkpoint import MANIFEST_FILE, WEIGHTS_FILE
from backend.registry.local import LocalRegistry
from backend.sam.loading import BaseModel, decoder_bytes, decoder_of, load_base

IMAGES, ANNOTATORS = 4, 3
MOST_TIMES, MOST_MIB = 1.2, 50  # what the p99 of a click and the server's memory may rise by
_SPELL, _PAUSE_S, _LOOK_S, _SETTLING_S = 10, 0.3, 0.05, 30.0


def _turn_byte(place: float) -> Callable[[bytes], bytes]:
    def turn(data: bytes) -> bytes:
        at = min(len(data) - 1, int(len(data) * place))
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    return turn


def _change_weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[bytes], bytes]:
    """Change every tensor; the file stays a safetensors file with the same names."""
    return lambda data: safetensors.torch.save(
        {name: change(tensor).contiguous() for name, tensor in safetensors.torch.load(data).items()}
    )


# What becomes of a file after it was published; None: it is gone.
DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes] | None]] = {
    "a byte turned in the weights' header": (WEIGHTS_FILE, _turn_byte(0.0)),
    "a byte turned in the middle of the weights": (WEIGHTS_FILE, _turn_byte(0.5)),
    "the weights' last byte turned": (WEIGHTS_FILE, _turn_byte(1.0)),
    "the weights cut in half": (WEIGHTS_FILE, lambda data: data[: len(data) // 2]),
    "the weights longer than they were": (WEIGHTS_FILE, lambda data: data + b"\0"),
    "no byte in the weights' file": (WEIGHTS_FILE, lambda _: b""),
    "no weights": (WEIGHTS_FILE, None),
    "a byte turned in the manifest": (MANIFEST_FILE, _turn_byte(0.5)),
    "the manifest cut in half": (MANIFEST_FILE, lambda data: data[: len(data) // 2]),
    "a manifest that is a list": (MANIFEST_FILE, lambda _: b"[]"),
    "no manifest": (MANIFEST_FILE, None),
}
# What is published with its right digest, and must not serve all the same.
HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "a pickle": lambda data: pickle.dumps({"weights": data}),
    "a header of 2^63 bytes": lambda data: struct.pack("<Q", 1 << 63) + data[8:],
    "numbers that are none": _change_weights(lambda tensor: torch.full_like(tensor, float("nan"))),
    "numbers without an end": _change_weights(lambda tensor: torch.full_like(tensor, float("inf"))),
    "other shapes": _change_weights(lambda tensor: tensor.flatten()[:1]),
    "no tensors": lambda _: safetensors.torch.save({}),
}
OTHER_BASE = "a decoder of another base"
WAYS = (*DAMAGES, *HOSTILE, OTHER_BASE)


@dataclass
class Times:
    """How long clicks took, s, by whether they began while versions were swapped."""

    is_swapping: bool = False
    taken_s: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    def p99_s(self, *, swapping: bool) -> float:
        """What 99 of 100 clicks take at most."""
        return float(np.percentile(self.taken_s[swapping], 99))


class TrustingRegistry(LocalRegistry):
    """A registry that promotes without a look at the version, as if its disk went bad right after the look."""

    def _verify(self, project_id: int, version: str) -> None:
        return


@dataclass(frozen=True)
class Made:
    """A version, and the way in which it is corrupt; None: it is sound."""

    version: str
    way: str | None


class Publisher:
    """Whoever trains the project: publishes decoders that differ, sound or corrupt, and promotes them."""

    def __init__(self, server: Served, *, models: Path, base: BaseModel, project_id: int) -> None:
        self._server, self._base, self._project_id = server, base, project_id
        self._registry = TrustingRegistry(models)
        self._published = 0
        self.served_wrongly: list[str] = []

    def publish(self, way: str | None = None) -> Made:
        """Publish a new version, sound or corrupt."""
        self._published += 1
        generator, decoder = torch.Generator().manual_seed(self._published), decoder_of(self._base, None)
        for weight in decoder.parameters():
            weight.data.add_(0.02 * torch.randn(weight.shape, generator=generator))
        weights = HOSTILE.get(way or "", bytes)(decoder_bytes(decoder))
        fingerprint = "0" * 64 if way == OTHER_BASE else self._base.fingerprint
        manifest = make_manifest(project_id=self._project_id, base_model=self._base.name, base_fingerprint=fingerprint)
        version = self._registry.publish(self._project_id, weights=weights, manifest=manifest).version
        if way in DAMAGES:
            name, change = DAMAGES[way]
            path = self._registry.materialise(version) / name
            data = path.read_bytes()
            path.unlink()
            if change is not None:
                path.write_bytes(change(data))
        return Made(version, way)

    def swap_in(self, made: Made) -> None:
        """Promote a version, and wait until it is served; or, if it is corrupt, declined: the old one stays."""
        before, version, way = self.read_served(), made.version, made.way
        self._registry.promote(self._project_id, version, reason="a swap")
        if way is None:
            wait_until(lambda: self.read_served() == version, every_s=_LOOK_S)
            return
        wait_until(lambda: self._is_declined(version), every_s=_LOOK_S, explain=lambda: f"{way}: it was not declined")
        if self.read_served() != before:
            self.served_wrongly.append(way)

    def look_on(self, *, seconds: float) -> None:
        """Ask what is served again and again, as while a version is awaited."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.read_served()
            time.sleep(_LOOK_S)

    def read_served(self) -> str:
        """Return the version that the server names."""
        body = {"project": f"{self._project_id}.1", "schema": CONFIG}
        return str(requests.post(f"{self._server.url}/setup", json=body, timeout=60).json()["model_version"])

    def _is_declined(self, version: str) -> bool:
        """Whether the server says that the version is corrupt, or that it cannot be read."""
        health = requests.get(f"{self._server.url}/health", timeout=60).json()
        return version in health["refused"] or version in str(health["away"])


@contextmanager
def _click(server: Served, counts: Counts, times: Times, *, clients: Clients) -> Iterator[None]:
    """Annotators who click until the block ends."""
    over = threading.Event()

    def send(body: dict[str, object]) -> requests.Response | None:
        is_swapping, began_s = times.is_swapping, time.perf_counter()
        try:
            reply = requests.post(f"{server.url}/predict", json=body, timeout=60)
        except requests.RequestException as fault:
            counts.fail(repr(fault))
            return None
        times.taken_s[is_swapping].append(time.perf_counter() - began_s)
        return reply

    with ThreadPoolExecutor(ANNOTATORS) as threads:
        ends = [
            threads.submit(counts.click, over, clients=clients, images=IMAGES, chance=random.Random(number), send=send)
            for number in range(ANNOTATORS)
        ]
        try:
            yield
        finally:
            over.set()
        for end in ends:
            end.result()


@dataclass(frozen=True)
class Outcome:
    """What came of the swaps.

    Attributes:
        rows: of a table.
        wrongs: everything of which there must be none.
        counts: of the clicks.
        limits: 1 where clicks became slower or memory larger than they may.
    """

    rows: list[tuple[str, int | float]]
    wrongs: dict[str, int]
    counts: Counts
    limits: dict[str, int]


def run_swaps(folder: Path, model: Path, *, ways: Sequence[str | None], compares: bool = False) -> Outcome:
    """Swap a version in for every way, None for one that is sound.

    Args:
        folder: an empty folder.
        model: a `save_pretrained` folder.
        ways: of `WAYS`.
        compares: whether after every ten nothing is swapped in for as many clicks, and the clicks are compared.
    """
    counts, times = Counts(), Times()
    base = load_base(str(model), cache_dir=folder / "base", device="cpu", dtype="float32")
    with project(pictures(IMAGES)) as (studio, project_id, tasks):
        environ = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": studio.token,
            "SAMLOOP_MODEL": str(model),
            "SAMLOOP_DTYPE": "float32",
            "SAMLOOP_DEVICE": "cpu",
            "SAMLOOP_POLL_SECONDS": "0.2",
            "OMP_NUM_THREADS": "1",
        }
        with served(folder / "server", environ=environ) as server:
            publisher = Publisher(server, models=folder / "server" / "models", base=base, project_id=project_id)
            first = [publisher.publish() for _ in range(_SPELL if compares else 3)]
            made = [publisher.publish(way) for way in ways]
            with _click(server, counts, times, clients=Clients(server.url, project_id=project_id, tasks=tasks)):
                # Until every thread there will be is there, and has the memory of a click.
                for version in first:
                    publisher.swap_in(version)
                    if compares:
                        publisher.look_on(seconds=_SETTLING_S / _SPELL)
                before = server.memory_bytes()
                _take_turns(publisher, times, made=made, compares=compares)
                grown = server.memory_bytes() - before
    slower = times.p99_s(swapping=True) / times.p99_s(swapping=False) if compares else 1.0
    corrupt = len(ways) - ways.count(None)
    return Outcome(
        rows=[
            ("swaps: versions swapped in", len(ways) - corrupt),
            ("swaps: corrupt versions", corrupt),
            ("swaps: clicks answered", counts.done["clicks answered"]),
            (f"swaps: p99 of a click, over the p99 without swaps (at most {MOST_TIMES})", round(slower, 2)),
            (f"swaps: growth of memory, MiB (at most {MOST_MIB})", grown >> 20),
        ],
        wrongs={
            "corrupt and served": len(publisher.served_wrongly),
            "mixed": counts.done["mixed"],
            "dropped": counts.done["failed"] + counts.done["clicks told to come again (503)"],
        },
        counts=counts,
        limits={"clicks": int(slower > MOST_TIMES), "memory": int(grown > MOST_MIB << 20)},
    )


def choose_ways(swaps: int) -> list[str | None]:
    """Every tenth swap is corrupt, in all ways in turn."""
    return [None if number % 10 else WAYS[number // 10 % len(WAYS)] for number in range(1, swaps + 1)]


def _take_turns(publisher: Publisher, times: Times, *, made: Sequence[Made], compares: bool) -> None:
    for first in range(0, len(made), _SPELL):
        times.is_swapping, before = True, len(times.taken_s[True])
        for version in made[first : first + _SPELL]:
            publisher.swap_in(version)
            if compares:
                publisher.look_on(seconds=_PAUSE_S)
        times.is_swapping, clicks = False, len(times.taken_s[True]) - before
        if compares:
            end = len(times.taken_s[False]) + clicks
            while len(times.taken_s[False]) < end:
                publisher.look_on(seconds=_LOOK_S)


def main() -> None:
    """Run it and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = save_small_sam(Path(folder) / "model")
        outcome = run_swaps(Path(folder), model, ways=choose_ways(given.swaps), compares=True)
    for name, count in [*outcome.rows, *outcome.wrongs.items()]:
        say(f"{count:9}  {name}")
    sys.exit(1 if any((outcome.wrongs | outcome.limits).values()) else 0)


if __name__ == "__main__":
    main()
