"""`make chaos`: kills whatever can be killed under load, and counts what was lost. All but the first rows must be zero.

python tests/benchmarks/chaos.py [--seconds 300] [--seed 0] [--print]

Three workers with trainings that are played serve four projects; two servers with a small random model answer clicks of
four annotators, while versions of their project are promoted, some of them corrupt. Workers, their trainings, servers
and Valkey are killed, ended, suspended and started again, the registry goes away and comes back, and the disk of all of
them is full for a while. Then 200 versions are swapped in (swaps.py), a training runs beside clicks (beside.py), three
hosts are cut off, die and are restarted (hosts.py), and publishers, askers and workers are killed at every step
(kill_points.py).
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
import torch
from benchmarks.annotators import Counts
from benchmarks.beside import MOST_TIMES, find_weights, run_beside
from benchmarks.clients import Clients, pictures, project
from benchmarks.hosts import list_rows, run_hosts
from benchmarks.kill_points import kill_everywhere
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.swaps import TrustingRegistry, choose_ways, run_swaps
from fakes.training import Lab, alive, kill, lab
from support.checkpoints import make_manifest
from support.hosts import explain_no_namespaces
from support.processes import make_environ
from support.small_bases import save_small_sam
from support.small_disk import fill_disk, free_disk, mount_disk
from support.waiting import wait_for_model

from backend.cli.demo.label_studio import free_port
from backend.errors import SamloopError, Unavailable
from backend.registry.checkpoint import WEIGHTS_FILE
from backend.sam.loading import decoder_bytes, decoder_of, load_base
from backend.work.connection import connect
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

Row = tuple[str, int | float]
Part = tuple[list[Row], list[int], list[str]]  # rows of the table, counts that must be 0, faults in words

PROJECTS, WORKERS, SERVERS, ANNOTATORS, IMAGES = (7, 8, 9, 10), 3, 2, 4, 6
SWAPS, _DISK_MIB = 200, 192
WRONG = ("unserved", "overlapping", "gaps", "torn", "mixed", "failed")


@dataclass
class Server:
    """`samloop serve` on a port that stays the same when the process is started again."""

    environ: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers while it runs."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process unless it runs."""
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as log:
                command = [sys.executable, "-m", "backend", "serve", "--port", str(self.port)]
                self.process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)


class House:
    """All that runs, and what is done to it."""

    def __init__(self, played: Lab, servers: list[Server], *, models: Path, disk: Path | None, seed: int) -> None:
        self.lab, self.servers, self.models, self.disk = played, servers, models, disk
        self.registry, self.counts, self.seed = TrustingRegistry(models), Counts(), seed
        self.over, self.registry_lock = threading.Event(), threading.Lock()
        self.wanted: Counter[int] = Counter()
        self.published: list[str] = []

    def ask(self) -> None:
        """Ask for trainings; what the queue acknowledges has to be served."""
        chance = random.Random(f"{self.seed} ask")
        with connect(self.lab.url) as connection:
            queue = TrainingQueue(connection, job_seconds=60)
            while not self.over.wait(0.15):
                with contextlib.suppress(Unavailable):
                    project_id = chance.choice(PROJECTS)
                    queue.request(project_id)
                    self.wanted[project_id] += 1
                    self.counts.add("trainings asked for")

    def publish(self, make: Callable[[int], str], project_id: int) -> None:
        """Promote a version every other second, every tenth of them corrupt."""
        number = 0
        while not self.over.wait(2):
            number += 1
            with self.registry_lock, contextlib.suppress(SamloopError):
                version = make(number)
                if number % 10 == 5:
                    with contextlib.suppress(OSError):  # of a full disk; it is corrupt all the same
                        _corrupt(self.registry.materialise(version) / WEIGHTS_FILE)
                else:
                    self.published.append(version)
                self.registry.promote(project_id, version, reason="chaos")
                self.counts.add("promotions")

    def annotate(self, number: int, clients: Clients) -> None:
        """Click on images, at whichever server."""
        chance = random.Random(f"{self.seed} annotator {number}")

        def send(body: dict[str, object]) -> requests.Response | None:
            try:
                return requests.post(f"{chance.choice(self.servers).url}/predict", json=body, timeout=60)
            except requests.RequestException:
                self.counts.add("clicks at a server that was down")
                return None

        self.counts.click(self.over, clients=clients, images=IMAGES, chance=chance, send=send)

    def kill_for(self, seconds: float, *, fewest: int) -> None:
        """Do harm every second or two, and start again what ended; go on until there were so many harms."""
        chance, end = random.Random(f"{self.seed} kill"), time.monotonic() + seconds
        with contextlib.ExitStack() as stack:
            staff = [stack.enter_context(self.hire(chance)) for _ in range(WORKERS)]
            while time.monotonic() < end or self.counts.kills.total() < fewest:
                time.sleep(chance.uniform(0.7, 2.0))
                harm = chance.choice(sorted(self.harms()))
                self.counts.kills[harm] += 1
                self.harms()[harm](staff, chance)
                self.lab.server.start()
                staff = [
                    worker if worker.poll() is None else stack.enter_context(self.hire(chance)) for worker in staff
                ]
                for server in self.servers:
                    server.start()
            self.over.set()
            self.lab.finish()
            self.lab.until(lambda: not self.unserved(), heartbeat_s=3)

    def hire(self, chance: random.Random) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """Start a worker whose clock may be an hour off."""
        return self.lab.worker(seconds=4, skew_s=chance.choice((0, 0, -3600, 3600)))

    def harms(self) -> dict[str, Callable[[list[subprocess.Popen[bytes]], random.Random], None]]:
        """What may be done, by its name in the table."""
        disk = {} if self.disk is None else {"disk full for 3 s": lambda _staff, _chance: self._fill_disk()}
        return disk | {
            "kill -9 of a worker": lambda staff, chance: chance.choice(staff).kill(),
            "SIGTERM to a worker": lambda staff, chance: chance.choice(staff).terminate(),
            "a worker suspended for 5 s": lambda staff, chance: _suspend(chance.choice(staff).pid, 5.0),
            "kill -9 of a training": lambda _, chance: self._kill_training(chance),
            "kill -9 of a server": lambda _, chance: self._end_server(chance, signal.SIGKILL),
            "SIGTERM to a server": lambda _, chance: self._end_server(chance, signal.SIGTERM),
            "kill -9 of Valkey": lambda _staff, _chance: self._kill_valkey(),
            "registry away for 2 s": lambda _staff, _chance: self._hide_registry(),
        }

    def _kill_training(self, chance: random.Random) -> None:
        horses = [line["pid"] for line in self.lab.journal("begin")[-WORKERS:] if alive(line["pid"])]
        if horses:
            with contextlib.suppress(ProcessLookupError):
                kill(chance.choice(horses))

    def _end_server(self, chance: random.Random, number: signal.Signals) -> None:
        process = chance.choice(self.servers).process
        assert process is not None
        process.send_signal(number)
        process.wait(60)

    def _kill_valkey(self) -> None:
        if self.lab.server.pid is not None:
            kill(self.lab.server.pid)
            time.sleep(0.3)

    def _hide_registry(self) -> None:
        with self.registry_lock:  # publishing waits: a registry that cannot be reached cannot take anything
            away = self.models.with_name("away")
            self.models.rename(away)
            time.sleep(2)
            # A server that started meanwhile may have made the folder.
            with contextlib.suppress(FileNotFoundError):
                self.models.rename(self.models.with_name(f"made-{time.monotonic_ns()}"))
            away.rename(self.models)

    def _fill_disk(self) -> None:
        assert self.disk is not None
        fill_disk(self.disk)
        time.sleep(3)
        free_disk(self.disk)

    def unserved(self) -> int:
        """How many of the trainings that were acknowledged nobody has served."""
        served = (int(self.lab.connection.get(Keys(project_id).served) or 0) for project_id in PROJECTS)
        return sum(max(0, self.wanted[project_id] - count) for project_id, count in zip(PROJECTS, served, strict=True))

    def wrongs(self, project_id: int) -> dict[str, int]:
        """Everything of which there must be none."""
        published = set(self.published)  # first: what is published while this counts is no loss
        numbers = [decision.number for decision in self.registry.history(project_id)]
        whole = {manifest.version for manifest in self.registry.versions(project_id)}
        overlaps = self.lab.overlaps()
        for earlier, later in overlaps:
            self.counts.faults.append(f"two trainings at once: {earlier} is later than {later}")
        found = {
            "unserved": self.unserved(),
            "overlapping": len(overlaps),
            "gaps": len(set(range(1, len(numbers) + 1)) ^ set(numbers)),
            "torn": len(published - whole),
        }
        return found | {name: self.counts.done[name] for name in WRONG if name not in found}


def run_chaos(folder: Path, *, seconds: float, seed: int, fewest: int = 1) -> tuple[House, dict[str, int]]:
    """Run the whole house in this folder for so long; return it with the counts of which none may be above zero.

    A machine that is too slow for so many harms in these seconds gets longer.
    """
    os.environ["HASTY"] = "1"  # workers notice dead ones in seconds
    (folder / "queue").mkdir()
    disk, model = folder / "disk", save_small_sam(folder / "model")
    base = load_base(str(model), cache_dir=folder / "base", device="cpu", dtype="float32")
    with (
        mount_disk(disk, mib=_DISK_MIB) as is_small,
        project(pictures(IMAGES)) as (studio, project_id, tasks),
        lab(folder / "queue", data_dir=disk / "queue") as played,
    ):
        (disk / "models").mkdir()
        environ = make_environ(
            queue_url=played.url,
            studio=studio,
            model=model,
            models=disk / "models",
            cache=disk / "cache",
            PYTHONPATH=str(Path(__file__).resolve().parents[2]),
            SAMLOOP_DTYPE="float32",
            SAMLOOP_POLL_SECONDS="0.2",
        )
        servers = [Server(environ, folder / f"server-{number}.log") for number in range(SERVERS)]
        house = House(played, servers, models=disk / "models", disk=disk if is_small else None, seed=seed)

        def make(number: int) -> str:
            generator, decoder = torch.Generator().manual_seed(number), decoder_of(base, None)
            for weight in decoder.parameters():
                weight.data.add_(0.02 * torch.randn(weight.shape, generator=generator))
            manifest = make_manifest(project_id=project_id, base_model=base.name, base_fingerprint=base.fingerprint)
            return house.registry.publish(project_id, weights=decoder_bytes(decoder), manifest=manifest).version

        with _running(servers):
            clients = Clients(servers[0].url, project_id=project_id, tasks=tasks)
            work: list[tuple[Callable[..., None], tuple[object, ...]]] = [
                (house.ask, ()),
                (house.publish, (make, project_id)),
                *((house.annotate, (number, clients)) for number in range(ANNOTATORS)),
            ]
            with ThreadPoolExecutor(len(work)) as threads:
                ends = [threads.submit(target, *args) for target, args in work]
                try:
                    house.kill_for(seconds, fewest=fewest)
                finally:
                    house.over.set()
                for end in ends:
                    end.result()
        return house, house.wrongs(project_id)


@contextlib.contextmanager
def _running(servers: list[Server]) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
            assert server.process is not None
            wait_for_model(server.url, process=server.process, log=server.log)
        yield
    finally:
        for server in servers:
            if server.process is not None:
                server.process.kill()
                server.process.wait()


def _suspend(pid: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)


def _corrupt(path: Path) -> None:
    """Turn a byte in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)


def main() -> None:
    """Run it, print the table, and write it into docs/results.md unless told to print alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print", action="store_true", help="write nothing into docs/results.md")
    given, measured = parser.parse_args(), commit()
    rows, is_right = run_all(seconds=given.seconds, seed=given.seed)
    table = "\n".join(["| What | Count |", "| --- | --- |", *(f"| {name} | {count} |" for name, count in rows)])
    note = f" {reason}: processes and doors stood for hosts." if (reason := explain_no_namespaces()) else ""
    text = f"{table}\n\n{given.seconds:.0f} s, seed {given.seed}, on {machine()}; commit {measured}.{note}"
    sys.stdout.write(text + "\n")
    if not given.print:
        write_result("chaos", text)
    sys.exit(0 if is_right else 1)


def run_all(*, seconds: float, seed: int) -> tuple[list[Row], bool]:
    """Do all that the module says; return the rows of the table, and whether nothing was wrong."""
    parts: tuple[Callable[[Path], Part], ...] = (
        lambda folder: try_chaos(folder, seconds=seconds, seed=seed),
        try_swaps,
        try_beside,
        try_hosts,
        try_kill_points,
    )
    rows, is_right = list[Row](), True
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            made, counts, faults = part(Path(folder))
        # At once: a later part may end in an exception.
        say("\n".join([*(f"| {name} | {count} |" for name, count in made), *faults]))
        rows, is_right = rows + made, is_right and not any(counts)
    return rows, is_right


def try_chaos(folder: Path, *, seconds: float, seed: int) -> Part:
    """The rows of `run_chaos`."""
    house, wrongs = run_chaos(folder, seconds=seconds, seed=seed)
    rows: list[Row] = [(name, count) for name, count in sorted(house.counts.done.items()) if name not in WRONG]
    rows += sorted(house.counts.kills.items())
    rows += [(f"**{name}**", count) for name, count in wrongs.items()]
    return rows, list(wrongs.values()), house.counts.faults


def try_swaps(folder: Path) -> Part:
    """The rows of `run_swaps`."""
    swaps = run_swaps(folder, save_small_sam(folder / "model"), ways=choose_ways(SWAPS), compares=True)
    rows = swaps.rows + [(f"**swaps: {name}**", count) for name, count in swaps.wrongs.items()]
    return rows, [*swaps.wrongs.values(), *swaps.limits.values()], swaps.counts.faults


def try_beside(folder: Path) -> Part:
    """The rows of `run_beside`."""
    beside = run_beside(folder, weights=find_weights())
    return list[Row](beside.list_rows()), [int(beside.times > MOST_TIMES)], []


def try_hosts(folder: Path) -> Part:
    """The rows of `run_hosts`."""
    site, lost = run_hosts(folder)
    return list_rows(site, lost), list(lost.values()), site.counts.faults


def try_kill_points(folder: Path) -> Part:
    """The rows of `kill_everywhere`."""
    killed = list[Row](kill_everywhere(folder))
    return killed, [killed[-1][1]], []


if __name__ == "__main__":
    main()
