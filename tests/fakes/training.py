"""A queue with real workers, real Valkey and real kills; only the training itself is played.

Run as a program this module is a worker whose `finetuner.pipeline` it is itself. What it trains for a project is told
by the project's id (see `train_project`), and every begin and end is a line in a journal.
"""

import functools
import itertools
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis import Redis
from support.checkpoints import make_manifest
from support.waiting import wait_until

from backend.cli.console import setup_logging
from backend.errors import LeaseLost, NothingToLearn, Upstream
from backend.registry.opening import open_registry
from backend.settings import Settings
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.jobs import HEARTBEAT_S
from backend.work.queue import TrainingQueue

ROOT = Path(__file__).resolve().parents[2]
KILLED_AT = "killed-at"
UNLEARNABLE, BUGGY, ENDLESS, HEALING, STUBBORN, LEAKY = 101, 102, 103, 104, 105, 106


@dataclass(frozen=True)
class Outcome:
    """As finetuner.pipeline's."""

    version: str | None
    promoted: bool
    verdict: Mapping[str, Any]
    reason: str


def note(event: str, project_id: int, **facts: str) -> None:
    """One line in the journal, which outlives every kill."""
    usual = {"event": event, "project": project_id, "pid": os.getpid(), "at": time.monotonic()}
    line = json.dumps(usual | {"host": os.environ.get("HOST", "")} | facts)
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(line + "\n")


def train_project(
    project_id: int, *, settings: Settings, progress: Callable[..., None], fence: Callable[[], None]
) -> Outcome:
    """Play a training of SECONDS_PLAYED seconds, or until all are told to finish, or what the project's id says."""
    try:
        return play(project_id, settings=settings, progress=progress, fence=fence)
    except LeaseLost:
        note("late", project_id)
        raise


def play(project_id: int, *, settings: Settings, progress: Callable[..., None], fence: Callable[[], None]) -> Outcome:
    """As `train_project`."""
    assert settings.queue.redis_url == os.environ["REDIS_URL"]
    note("begin", project_id)
    if project_id == UNLEARNABLE:
        raise NothingToLearn("project 101 has 1 usable image; a training needs 2: annotate more")
    if project_id == BUGGY:
        raise RuntimeError("a bug")
    if project_id == LEAKY:
        address = "https://images.invalid/a.png?X-Amz-Signature=cAnAry0123456789"
        raise RuntimeError(f"of a library: {address}") from OSError(f"no {address}")
    if project_id == HEALING and sum(line["event"] == "begin" for line in _journal(Path(os.environ["JOURNAL"]))) == 1:
        raise Upstream("Label Studio answered 502")
    seconds = 600.0 if project_id in {ENDLESS, STUBBORN} else float(os.environ["SECONDS_PLAYED"])
    end, step = time.monotonic() + seconds, 0
    finish = Path(os.environ["JOURNAL"]).with_name("finish")
    while time.monotonic() < end and not (finish.exists() and project_id < ENDLESS):
        try:
            step += 1
            note("tick", project_id)
            progress("training", epoch=step, loss=float("nan") if step == 1 else 1 / step)
            time.sleep(0.02)
        except Exception:  # as careless code would: neither the time limit nor SIGTERM may be lost in it
            if project_id != STUBBORN:
                raise
    progress("publishing", epoch=step)
    fence()
    drawn = os.environ.get("DRAWN")
    version = publish_drawn(Path(drawn), project_id, settings=settings, fence=fence) if drawn else None
    note("end", project_id)
    version = version or f"tiny-p{project_id}-v1-000000"
    return Outcome(version, True, {"gain": 0.5, "hd95_px": float("inf")}, "it is better")


def publish_drawn(folder: Path, project_id: int, *, settings: Settings, fence: Callable[[], None]) -> str:
    """Publish and promote, as `finetuner.pipeline` does, a decoder that was drawn before; return its version.

    `folder` holds `facts.json`, what its manifest says of the base, and the decoders, which take turns.
    """
    registry = open_registry(settings)
    champion = registry.champion(project_id)
    decoders = sorted(folder.glob("*.safetensors"))
    weights = decoders[len(registry.versions(project_id)) % len(decoders)].read_bytes()
    manifest = make_manifest(project_id=project_id, **json.loads((folder / "facts.json").read_text()))
    version = registry.publish(project_id, weights=weights, manifest=manifest, fence=fence).version
    note("published", project_id, version=version)
    fence()
    registry.promote(project_id, version, reason="drawn", expected=champion.number if champion else 0)
    return version


@dataclass(frozen=True)
class Lab:
    """A folder with a Valkey and a journal, and workers on demand."""

    folder: Path
    server: Valkey
    url: str
    connection: Redis
    queue: TrainingQueue

    @contextmanager
    def worker(
        self, *, seconds: float = 0.1, burst: bool = False, skew_s: int = 0, kill_at: str = "", **environ: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process, killed at the end if it still runs.

        `skew_s`: its clock is so far ahead. `kill_at`: see `count_commands`; the first of its processes to come so far.
        `environ`: what else stands in its environment.
        """
        environment = {
            **os.environ,
            "REDIS_URL": self.url,
            "JOURNAL": str(self.folder / "journal"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "SECONDS_PLAYED": str(seconds),
            "BURST": "1" if burst else "",
            "SKEW_S": str(skew_s),
            "KILL_AT": kill_at,
            **environ,
        }
        with (
            (self.folder / f"worker-{time.monotonic_ns()}.log").open("wb") as log,
            subprocess.Popen([sys.executable, __file__], cwd=ROOT, env=environment, stdout=log, stderr=log) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def journal(self, event: str, project_id: int | None = None) -> list[dict[str, Any]]:
        """The journal's lines of this event, in order."""
        return [
            line
            for line in _journal(self.folder / "journal")
            if line["event"] == event and project_id in {None, line["project"]}
        ]

    def overlaps(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Pairs of signs of life between which two trainings of one project ran at once."""
        found = []
        for project_id in {line["project"] for line in self.journal("begin")}:
            ended: list[list[dict[str, Any]]] = []
            runs: dict[int, list[dict[str, Any]]] = {}
            for line in _journal(self.folder / "journal"):
                if line["project"] != project_id:
                    continue
                if line["event"] == "begin":  # the system gives a number to another process in the end
                    ended += filter(None, [runs.pop(line["pid"], None)])
                runs.setdefault(line["pid"], []).append(line)
            ordered = sorted([*ended, *runs.values()], key=lambda run: float(run[0]["at"]))
            found += [
                (earlier[-1], later[0])
                for earlier, later in itertools.pairwise(ordered)
                if earlier[-1]["at"] >= later[0]["at"]
            ]
        return found

    def horse(self, project_id: int) -> int:
        """Process id of the work horse that trains the project, once it does."""
        self.until(lambda: len(self.journal("begin", project_id)) > len(self.journal("end", project_id)))
        return int(self.journal("begin", project_id)[-1]["pid"])

    def finish(self) -> None:
        """Let every training that is played end now."""
        (self.folder / "finish").touch()

    def until(
        self,
        condition: Callable[[], bool],
        *,
        seconds: float = 120.0,
        sweeping: bool = True,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """Wait for it, sweeping as the server would."""
        sweep_at = 0.0

        def is_true_or_sweep() -> bool:
            nonlocal sweep_at
            if condition():
                return True
            if sweeping and time.monotonic() > sweep_at:
                self.queue.sweep(heartbeat_s=heartbeat_s)
                sweep_at = time.monotonic() + 1
            return False

        wait_until(
            is_true_or_sweep, seconds=seconds, every_s=0.02, explain=lambda: f"it never came true\n{self.logs()}"
        )

    def take_queue_away(self, *, calls: int) -> None:
        """Kill Valkey, and sit on its socket until so many have called in vain; `server.start` brings it back."""
        assert self.server.pid is not None
        kill(self.server.pid)
        socket_path = Path(self.url.removeprefix("unix://"))
        self.until(lambda: not alive(self.server.pid or 0), sweeping=False)
        socket_path.unlink(missing_ok=True)
        called = threading.Semaphore(0)

        class HangUp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                called.release()

        with socketserver.ThreadingUnixStreamServer(str(socket_path), HangUp) as door:
            threading.Thread(target=door.serve_forever, args=(0.02,), daemon=True).start()
            for _ in range(calls):
                assert called.acquire(timeout=120), f"nobody asks for the queue\n{self.logs()}"
            door.shutdown()

    def logs(self) -> str:
        """What the workers said last, for a test that fails."""
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("worker-*.log")))


@contextmanager
def lab(folder: Path, *, data_dir: Path | None = None) -> Iterator[Lab]:
    """A lab in this folder; its Valkey writes below it too, or to `data_dir`."""
    server = Valkey(data_dir or folder / "queue")
    with server:
        url = server.start()
        with connect(url) as connection:
            yield Lab(folder, server, url, connection, TrainingQueue(connection, job_seconds=60))


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def _journal(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def count_commands(*, kill_at: str) -> None:
    """Kill this process "before" or "after" it sends a command of this number to Redis: "12 after".

    A forked child counts on from its parent. The kill leaves the file KILLED_AT beside the journal, where there is one.
    """
    from redis.connection import AbstractConnection

    first, moment = kill_at.split()
    send, sent, number = AbstractConnection.send_packed_command, 0, int(first)

    def send_counted(connection: AbstractConnection, command: Any, check_health: bool = True) -> None:
        nonlocal sent
        sent += 1
        if sent == number and "JOURNAL" in os.environ:
            Path(os.environ["JOURNAL"]).with_name(KILLED_AT).touch()
        if sent == number and moment == "before":
            kill(os.getpid())
        send(connection, command, check_health)
        if sent == number:
            kill(os.getpid())

    AbstractConnection.send_packed_command = send_counted  # type: ignore[method-assign]


def shift_clock(skew_s: int) -> None:
    """Let RQ's clock be so far ahead: RQ's modules have these two functions by name."""
    from rq import utils

    now, timestamp = utils.now, utils.current_timestamp
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "rq":
            for clock, shifted in (
                ("now", lambda: now() + timedelta(seconds=skew_s)),
                ("current_timestamp", lambda: timestamp() + skew_s),
            ):
                if hasattr(module, clock):
                    setattr(module, clock, shifted)


def main() -> None:
    """Be the worker."""
    from finetuner import job, lease, worker

    shift_clock(int(os.environ["SKEW_S"]))
    if os.environ["KILL_AT"]:
        count_commands(kill_at=os.environ["KILL_AT"])

    job._PAUSES_S, job._check_project = (0.5, 0.5), lambda _: None
    if os.environ.get("HASTY"):  # dead workers are noticed in 4 s, so that a horse that outlived its own would overlap
        worker.HEARTBEAT_S, worker._HEARTBEAT_EVERY_S = 3, 1
        job.Lease = functools.partial(lease.Lease, pace=lease.LeasePace(expires_s=3.0, renew_s=0.6, return_s=1.5))
    setup_logging("info")
    sys.modules["finetuner.pipeline"] = sys.modules["__main__"]
    worker.run_worker(os.environ["REDIS_URL"], burst=bool(os.environ["BURST"]))
    assert "torch" not in sys.modules, "the worker imported torch"


if __name__ == "__main__":
    main()
