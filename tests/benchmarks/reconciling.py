"""What a look for annotations that webhooks missed costs: `python tests/benchmarks/reconciling.py [--annotations N]`.

Label Studio is simulated over HTTP in a process of its own, and answers at once; all annotations were compared before.
capacity.py writes the figures of a million into docs/operation.md. A refresh's walk is refreshing.py's.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, say
from fakes.many_annotations import LONG_AGO, ManyAnnotations
from redis import Redis

from backend.labelstudio.api.client import LabelStudio
from backend.live.deleted import Counted
from backend.live.evaluation import LiveEvaluation
from backend.live.lines import ComparedMask, Done, to_bytes
from backend.live.missed import MissedChanges, OwnWebhook
from backend.work.automatic import AutomaticTraining
from backend.work.connection import connect, decode_text
from backend.work.embedded import Valkey
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

PROJECT = 1
_MASKS = 8  # of an annotation
_DAY_S = 86_400.0
_STARTED_S = 1.8e9  # the simulated time of the first look


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What looks at a project of `annotations` annotations cost.

    Attributes:
        annotations: how many.
        first_s: the first look of a server, which reads the live evaluation, s.
        idle_s: a look without news, s.
        requests: how often that asks Label Studio.
        walk_s: all looks that find an annotation which was deleted without a webhook, s.
        grown_mib: how much memory the server takes more than with none.
    """

    annotations: int
    first_s: float
    idle_s: float
    requests: int
    walk_s: float
    grown_mib: float

    def describe(self) -> str:
        """The figures in words."""
        idle = f"{self.idle_s:.1f} s" if self.idle_s >= 0.05 else "less than 0.1 s"
        return (
            f"In a project with {self.annotations:,} compared annotations, the first look for missed webhooks reads "
            f"the live evaluation, which takes {self.first_s:.0f} s and {self.grown_mib:.0f} MiB of the server's "
            f"memory. Every later look takes {idle} and {self.requests} requests. If an annotation was "
            f"deleted without a webhook, the next looks check 10,000 annotations each until they find it; checking all "
            f"annotations takes {self.walk_s:.0f} s in total."
        )


def write_ledger(path: Path, count: int) -> None:
    """Write the live evaluation of so many annotations."""
    masks = (ComparedMask(version="v1", label="Coin", iou=0.9, boundary_iou=0.8, untouched=False),) * _MASKS
    path.parent.mkdir(parents=True)
    sample = json.loads(to_bytes(Done(annotation_id=1, at=LONG_AGO, lead_s=3.5, masks=masks)))
    with path.open("w") as file:
        file.writelines(json.dumps(sample | {"a": number}) + "\n" for number in range(1, count + 1))


def serve(count: int, pipe: Connection) -> None:
    """Be the Label Studio until None is sent; say how often it was asked. From True on, the last annotation is gone."""
    with ManyAnnotations(count) as studio:
        pipe.send(studio.url)
        while (is_deleted := pipe.recv()) is not None:
            studio.is_last_deleted = is_deleted
            pipe.send(studio.asked)


def measure_looks(count: int) -> Looks:
    """Look at a project of so many annotations; call it in a process of its own, whose memory is measured."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(count, theirs), daemon=True)
    process.start()
    url = ours.recv()
    with (
        tempfile.TemporaryDirectory() as folder,
        Valkey(Path(folder) / "queue") as valkey,
        connect(valkey.start()) as redis,
    ):
        write_ledger(Path(folder) / "live" / str(PROJECT) / "annotations.jsonl", count)
        studio = LabelStudio(url, "0" * 40)
        live = LiveEvaluation(Path(folder) / "live", label_studio=lambda _: studio, max_pixels=1)
        now_s = [_STARTED_S]
        queue = TrainingQueue(redis, job_seconds=60)
        missed = MissedChanges(
            redis,
            projects=lambda: (PROJECT,),
            label_studio=lambda _: studio,
            live=live,
            automatic=AutomaticTraining(redis, queue=queue, train_after=lambda _: 0, quiet_s=0),
            queue=queue,
            webhook=OwnWebhook(url="http://127.0.0.1:9090", basic_auth=None),
            every_s=0.001,
            clock=lambda: now_s[0],
        )

        def count_requests(*, is_last_deleted: bool = False) -> int:
            ours.send(is_last_deleted)
            return int(ours.recv())

        def look() -> None:
            now_s[0] += _DAY_S
            redis.delete("samloop:reconciling")
            missed.look()

        before = _peak_mib()
        first_s = _time(look)
        _look_until(lambda: _read_counted(redis).after is None, look)  # at first it looks all of them up
        asked = count_requests()
        idle_s, requests = _time(look), count_requests() - asked
        count_requests(is_last_deleted=True)
        walk_s = _time(lambda: _look_until(lambda: redis.exists(Keys(PROJECT).missed), look))
        grown_mib = _peak_mib() - before
    ours.send(None)
    process.join()
    return Looks(
        annotations=count, first_s=first_s, idle_s=idle_s, requests=requests, walk_s=walk_s, grown_mib=grown_mib
    )


def _read_counted(redis: Redis) -> Counted:
    return Counted.from_json(decode_text(redis.get(Keys(PROJECT).counted) or b""))


def _look_until(is_healed: Callable[[], object], look: Callable[[], None]) -> None:
    while not is_healed():
        look()


def _time(work: Callable[[], None]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=10**6)
    count, measured = parser.parse_args().annotations, commit()
    say(f"{measure_looks(count).describe()} On {machine()}; commit {measured}.")


if __name__ == "__main__":
    main()
