"""Three hosts with a server and a worker, and a Redis, an S3 and a Label Studio on hosts of their own: what is lost?

python tests/benchmarks/hosts.py [--seed 0]      the rows of `make chaos`; those in bold must be zero

A worker loses its way to Redis in mid-training, and its cable; a host dies and boots; the store's cable is pulled;
servers are restarted one after another. All the while annotators click through a proxy. Trainings are played, their
publications are real. Part of `make chaos`, and some of it of `make test`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.annotators import Counts
from benchmarks.clients import Clients, pictures, project
from benchmarks.pages import say
from benchmarks.proxy import Proxy, Server
from fakes.training import Lab, lab
from support.hosts import Host, explain_no_namespaces, find_port, open_network
from support.object_store import open_bucket, open_store, serve_s3
from support.small_bases import save_small_sam
from support.waiting import wait_until

from backend.registry.checkpoint import verify_weights
from backend.registry.objects.registry import ObjectRegistry
from backend.sam.loading import decoder_bytes, decoder_of, load_base
from backend.work.keys import Keys

NAMES, IMAGES, ANNOTATORS = ("first", "second", "third"), 3, 2
_ROOT = Path(__file__).resolve().parents[2]
_AWAY_S = 10.0  # how long the store is away


class Site:
    """All that runs on the hosts, and what is done to it."""

    def __init__(
        self, played: Lab, servers: Sequence[Server], *, registry: ObjectRegistry, project_id: int, counts: Counts
    ) -> None:
        self._lab, self._registry, self._project_id, self.counts = played, registry, project_id, counts
        self._servers = {server.host.name: server for server in servers}
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._held = ExitStack()
        self._asked = self._published_late = 0
        self._starting = threading.Thread(target=self._start_servers)

    def __enter__(self) -> Self:
        for name in self._servers:
            self._hire(name)
        self._starting.start()  # the first start imports PyTorch: nobody waits for that who needs no server
        return self

    def _start_servers(self) -> None:
        for server in self._servers.values():
            server.start()

    def __exit__(self, *_: object) -> None:
        self._starting.join()
        self._held.close()
        for server in self._servers.values():
            server.end(in_peace=False)

    def _hire(self, name: str) -> None:
        server = self._servers[name]
        with server.host.enter():
            worker = self._lab.worker(seconds=1.5, **server.environ | {"HOST": name, "HASTY": "1"})
            self._workers[name] = self._held.enter_context(worker)

    def _train(self) -> tuple[str, Host]:
        """Ask for a training, and return the host on which it has begun."""
        begun = len(self._lab.journal("begin"))
        self._lab.queue.request(self._project_id)
        self._asked += 1
        self._until(lambda: len(self._lab.journal("begin")) > begun)
        name = str(self._lab.journal("begin")[-1]["host"])
        return name, self._servers[name].host

    def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; who is silent for 3 s is taken for dead."""
        self._lab.until(condition, heartbeat_s=3)

    def _list_publishers(self) -> list[str]:
        return [str(line["host"]) for line in self._lab.journal("published")]

    def cut_worker_off(self, *others: Host, harm: str) -> None:
        """Cut who trains off from these hosts, or from all, until another has taken over; then it comes back."""
        self.counts.kills[harm] += 1
        published = len(self._list_publishers())
        name, host = self._train()
        ended = self._count_ends(name)
        host.cut(*others)
        self._until(lambda: len(self._list_publishers()) > published and not self.count_unserved())
        host.mend(*others)
        self._until(lambda: self._count_ends(name) > ended)
        self._published_late += self._list_publishers()[published:].count(name)

    def _count_ends(self, name: str) -> int:
        """How many trainings of this host came to their end, or learnt that they are late."""
        return sum(line["host"] == name for event in ("end", "late") for line in self._lab.journal(event))

    def end_host(self) -> str:
        """Take the power from a host that trains; return its name."""
        name, host = self._train()
        self.counts.kills["a host without power in mid-training"] += 1
        host.cut()
        self._servers[name].end(in_peace=False)
        self._workers[name].kill()
        self._workers[name].wait()
        return name

    def boot(self, name: str) -> None:
        """Start what the host runs, and wait for its server."""
        self._servers[name].host.mend()
        self._hire(name)
        self._servers[name].start()
        self.wait_for_servers()

    def wait_for_servers(self) -> None:
        """Wait until all have their model."""
        self._starting.join()
        for server in self._servers.values():
            wait_until(server.is_ready, every_s=0.1)

    def restart(self, name: str) -> None:
        """Let its server end in peace, and start it again."""
        self.counts.kills["SIGTERM to a server, one after another"] += 1
        self._servers[name].end(in_peace=True)
        self._servers[name].start()

    def lose(self, host: Host, *, seconds: float, harm: str) -> None:
        """Pull a host's cable for so long."""
        self.counts.kills[harm] += 1
        host.cut()
        time.sleep(seconds)
        host.mend()

    def train_once(self) -> None:
        """Ask for a training that nothing happens to."""
        self._train()

    def wait_for_newest(self) -> None:
        """Wait until all trainings are served, and clicks are answered by what came of the last."""
        self._until(lambda: not self.count_unserved())
        self._look_anew()
        champion = self._registry.champion(self._project_id)
        assert champion is not None
        wait_until(lambda: champion.version in self.counts.versions)

    def wait_for_clicks(self, count: int) -> None:
        """Wait until so many more clicks are answered."""
        enough = self.counts.done["clicks answered"] + count
        wait_until(lambda: self.counts.done["clicks answered"] >= enough)

    def count_unserved(self) -> int:
        """How many of the trainings that were acknowledged nobody has served."""
        return max(0, self._asked - int(self._lab.connection.get(Keys(self._project_id).served) or 0))

    def _look_anew(self) -> None:
        """List again: a listing that took long counts as up to date for seconds, and lacks what was published since."""
        self._registry._pointers.refs.forget_listing()

    def count_wrongs(self) -> dict[str, int]:
        """Everything of which there must be none."""
        # Read first: workers publish on while this counts, and note a version once it is published.
        published = {line["version"] for line in self._lab.journal("published")}
        self._look_anew()
        numbers = [decision.number for decision in self._registry.history(self._project_id)]
        whole = {manifest.version for manifest in self._registry.versions(self._project_id)}
        for version in whole:
            verify_weights(self._registry.materialise(version))
        # Of a host that died there may be a version more: it did not live to note it.
        torn = published - whole
        self.counts.faults += [f"{version} was published, and the registry does not list it" for version in torn]
        return {
            "unserved": self.count_unserved(),
            "published by a worker that was cut off": self._published_late,
            "gaps": len(set(range(1, len(numbers) + 1)) ^ set(numbers)),
            "torn": len(torn),
            "mixed": self.counts.done["mixed"],
            "failed": self.counts.done["failed"],
        }


def draw_decoders(model: Path, folder: Path) -> None:
    """Write three decoders that differ from that of the model, and what their manifests say of it."""
    base = load_base(str(model), cache_dir=folder, device="cpu", dtype="float32")
    facts = {"base_model": base.name, "base_fingerprint": base.fingerprint}
    (folder / "facts.json").write_text(json.dumps(facts))
    for number in range(3):
        generator, decoder = torch.Generator().manual_seed(number), decoder_of(base, None)
        for weight in decoder.parameters():
            weight.data.add_(0.02 * torch.randn(weight.shape, generator=generator))
        (folder / f"{number}.safetensors").write_bytes(decoder_bytes(decoder))


@contextmanager
def open_site(
    folder: Path, model: Path, *, names: Sequence[str] = NAMES, namespaces: bool | None = None
) -> Iterator[tuple[Site, Mapping[str, Host]]]:
    """A server and a worker on every host of these names, with clicks under way; and all hosts.

    Args:
        folder: an empty folder, for what hosts write.
        model: a `save_pretrained` folder.
        names: the hosts.
        namespaces: see `open_network`.
    """
    for name in ("drawn", "queue"):
        (folder / name).mkdir()
    draw_decoders(model, folder / "drawn")
    with ExitStack() as held:
        hosts = held.enter_context(open_network("redis", "store", "studio", "front", *names, namespaces=namespaces))
        url = held.enter_context(open_bucket())
        registry, counts = open_store(url, folder / "ours"), Counts()
        redis, store = hosts["redis"], hosts["store"]
        with redis.enter():
            redis_port, played = find_port(redis), held.enter_context(lab(folder / "queue"))
            _listen(played, host=redis, port=redis_port)
        with store.enter():
            s3_port = find_port(store)
            held.enter_context(serve_s3(store.address, s3_port))
        with hosts["studio"].enter():
            studio, project_id, tasks = held.enter_context(project(pictures(IMAGES), address=hosts["studio"].address))
        shared = _usual(folder, model) | {"MODEL_DIR": registry._store.url, "LABEL_STUDIO_API_KEY": studio.token}

        def place(host: Host) -> Server:
            places = {
                "REDIS_URL": f"redis://{host.locate(redis, redis_port)}",
                "AWS_ENDPOINT_URL": f"http://{host.locate(store, s3_port)}",
                "LABEL_STUDIO_URL": f"http://{host.locate(hosts['studio'], studio.port)}",
                "SAMLOOP_CACHE_DIR": str(folder / host.name),
            }
            return Server(host, find_port(host), shared | places, folder / f"{host.name}.log")

        servers = [place(hosts[name]) for name in names]
        clients = Clients("", project_id=project_id, tasks=tasks)
        site = Site(played, servers, registry=registry, project_id=project_id, counts=counts)
        with site, _clicks(Proxy(servers, host=hosts["front"], counts=counts), counts, clients):
            yield site, hosts


def _listen(played: Lab, *, host: Host, port: int) -> None:
    """Let the embedded Valkey be found by other hosts too."""
    for name, value in (("protected-mode", "no"), ("bind", host.address), ("port", str(port))):
        played.connection.config_set(name, value)


def _usual(folder: Path, model: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'tests'}",
        "SAMLOOP_MODEL": str(model),
        "SAMLOOP_DEVICE": "cpu",
        "SAMLOOP_DTYPE": "float32",
        "SAMLOOP_POLL_SECONDS": "0.2",
        "SAMLOOP_REFRESH": "false",
        "OMP_NUM_THREADS": "1",
        "DRAWN": str(folder / "drawn"),
    }


@contextmanager
def _clicks(proxy: Proxy, counts: Counts, clients: Clients) -> Iterator[None]:
    """Annotators who click from the first server that is ready to the end."""
    over = threading.Event()

    def annotate(number: int) -> None:
        while not over.is_set() and not proxy.has_server():
            over.wait(0.1)
        counts.click(over, clients=clients, images=IMAGES, chance=random.Random(number), send=proxy.send)

    with ThreadPoolExecutor(ANNOTATORS) as threads:
        ends = [threads.submit(annotate, number) for number in range(ANNOTATORS)]
        try:
            yield
        finally:
            over.set()
        for end in ends:
            end.result()


def run_hosts(folder: Path) -> tuple[Site, dict[str, int]]:
    """All that the module says, on three hosts; return them with the counts of which none may be above zero."""
    model = save_small_sam(folder / "model")
    (folder / "site").mkdir()
    with open_site(folder / "site", model) as (site, hosts):
        site.wait_for_servers()
        site.cut_worker_off(hosts["redis"], harm="a worker cut off from Redis in mid-training")
        site.cut_worker_off(harm="a host's cable pulled in mid-training")
        site.wait_for_newest()
        site.boot(site.end_host())
        site.wait_for_newest()
        site.lose(hosts["store"], seconds=_AWAY_S, harm="the store's cable pulled for 10 s")
        site.train_once()
        site.wait_for_newest()
        for name in NAMES:
            site.restart(name)
            site.wait_for_servers()
        return site, site.count_wrongs()


def list_rows(site: Site, wrongs: dict[str, int]) -> list[tuple[str, int]]:
    """The rows of a table, of which those in bold must be zero."""
    names = {"failed": "failed through the proxy", "mixed": "mixed through the proxy"}
    done = sorted((f"hosts: {name}", count) for name, count in site.counts.done.items() if name not in wrongs)
    kills = sorted((f"hosts: {name}", count) for name, count in site.counts.kills.items())
    return done + kills + [(f"**hosts: {names.get(name, name)}**", count) for name, count in wrongs.items()]


def main() -> None:
    """Run it and print the rows."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site, wrongs = run_hosts(Path(folder))
    say(explain_no_namespaces() or "every host has a network namespace")
    for name, count in list_rows(site, wrongs):
        say(f"{count:7d}  {name}")
    sys.exit(1 if any(wrongs.values()) else 0)


if __name__ == "__main__":
    main()
