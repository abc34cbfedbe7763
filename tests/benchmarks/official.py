"""`make bench`: clicks of samloop beside those of label-studio-ml-backend's `segment_anything_model`.

python tests/benchmarks/official.py [--print] [--rounds N]
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python tests/benchmarks/official.py

The second command shows what a processor with AVX2 alone reaches, and writes a block of its own. So does the first on
a processor that is slow at bfloat16.

Both serve the same weights on the same machine in the same run, and take turns, so that a busy machine slows both. A
cold click is the first on an image; a warm click is the next there; a click back is on an image that was clicked on
before the last one, which the official backend has forgotten.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `samloop` does
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
import torch
from benchmarks.clients import CONFIG, Answer, Clients, agreement, pictures, project
from benchmarks.pages import commit, machine, write_result
from fakes.serving import served
from support.waiting import wait_until

from backend.cli.demo.label_studio import free_port
from backend.sam.layers.arithmetic import has_fast_bfloat16
from backend.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"cold": "the first click on an image", "warm": "the next click there", "back": "a click back on an image"}
AVX2 = "official-avx2"
Seconds = dict[str, list[float]]


@contextmanager
def official(folder: Path, *, label_studio: str, token: str) -> Iterator[str]:
    """The official backend's request path in a process of its own; its address."""
    folder.mkdir()
    port = free_port()
    environ = {
        **os.environ,
        "LABEL_STUDIO_URL": label_studio,
        "LABEL_STUDIO_API_KEY": token,
        "HOME": str(folder),  # where label-studio-tools keeps the images that it fetched
        "SAMLOOP_CACHE_DIR": str(Settings().cache.dir),
    }
    command = [ROOT / ".venv-label-studio-ml" / "bin" / "python", ROOT / "tests" / "fakes" / "official_backend.py"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(port), str(folder)], env=environ, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or _answers(url), seconds=300)
            if process.poll() is not None:
                raise SystemExit(f"the official backend's process ended:\n{(folder / 'log').read_text()[-2000:]}")
            setup = {"project": "1.1", "schema": CONFIG, "hostname": label_studio, "access_token": token}
            requests.post(f"{url}/setup", json=setup, timeout=60).raise_for_status()
            yield url
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False


def take_turns(backends: dict[str, Clients], *, rounds: int) -> tuple[dict[str, Seconds], list[float]]:
    """Click on two new images a round, with both backends in turn: seconds by backend and kind, and the masks' IoU."""
    seconds: dict[str, Seconds] = {name: {kind: [] for kind in KINDS} for name in backends}
    ious: list[float] = []
    with requests.Session() as session:
        for number in range(rounds):
            first, second = 2 * number, 2 * number + 1
            answers: dict[str, Answer] = {}
            # Whoever is second finds a warmer machine: they take turns at that too.
            for name in sorted(backends, reverse=number % 2 == 0):
                clients = backends[name]
                for kind, place in (("cold", (first, 0)), ("warm", (first, 1)), ("cold", (second, 0))):
                    seconds[name][kind].append(_click(clients, session, place).seconds)
                answers[name] = _click(clients, session, (first, 0))
                seconds[name]["back"].append(answers[name].seconds)
            ious.append(agreement(*answers.values()))
    return seconds, ious


def _click(clients: Clients, session: requests.Session, place: tuple[int, int]) -> Answer:
    answer = clients.click(session, place)
    if answer.status != requests.codes.ok:
        raise SystemExit(f"a click on {place} was answered {answer.status}")
    return answer


def write_table(seconds: dict[str, Seconds]) -> str:
    """The medians, and how many times as fast ours is: the median of the ratios of turns."""
    ours, theirs = seconds["samloop"], seconds["official"]
    rows = ["| What | samloop | official backend | Times as fast |", "| --- | --- | --- | --- |"]
    for kind, title in KINDS.items():
        ratio = statistics.median(slow / fast for slow, fast in zip(theirs[kind], ours[kind], strict=True))
        medians = (f"{statistics.median(side[kind]) * 1e3:.0f} ms" for side in (ours, theirs))
        rows.append(f"| {title} | {' | '.join(medians)} | {ratio:.1f} |")
    return "\n".join(rows)


def choose_block() -> str:
    """The block of docs/results.md for processors like this one."""
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return AVX2
    return "official" if has_fast_bfloat16(torch.device("cpu")) else "official-int8"


def main() -> None:
    """Measure both, and write the block of this kind of processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--print", action="store_true", help="write nothing into docs/results.md")
    given, measured, settings = parser.parse_args(), commit(), Settings()
    with (
        tempfile.TemporaryDirectory() as work,
        project(pictures(2 * given.rounds + 1)) as (studio, project_id, tasks),
        official(Path(work) / "official", label_studio=studio.url, token=studio.token) as their_url,
        served(
            Path(work) / "samloop",
            environ={
                "LABEL_STUDIO_URL": studio.url,
                "LABEL_STUDIO_API_KEY": studio.token,
                "SAMLOOP_MODEL": "mobile-sam",
                "SAMLOOP_PREWARM": "0",  # it would encode beside the other's turn
            },
            weights=settings.cache.dir / "weights",
        ) as server,
    ):
        backends = {
            name: Clients(url, project_id=project_id, tasks=tasks)
            for name, url in (("samloop", server.url), ("official", their_url))
        }
        with requests.Session() as session:
            for clients in backends.values():
                _click(clients, session, (2 * given.rounds, 0))  # what the first request alone pays
        seconds, ious = take_turns(backends, rounds=given.rounds)
    block = choose_block()
    where = f"{machine()}{', as AVX2' if block == AVX2 else ''}"
    text = f"""{write_table(seconds)}

Median of {given.rounds} rounds over HTTP, from the click to the answer. Between the masks of the two, the median IoU
is {statistics.median(ious):.3f}, because samloop may read a click as another object. On {where}; commit {measured}."""
    sys.stdout.write(text + "\n")
    if not given.print:
        write_result(block, text)


if __name__ == "__main__":
    main()
