"""Many annotators on one server: does anybody get a wrong mask or an error, or wait for ever?

python tests/benchmarks/clients.py                                64 clients, 200 images, 3 minutes, mobile-sam
python tests/benchmarks/clients.py --think-seconds 0 --print      without pauses: how much the server bears

It prints one JSON object, and writes a paragraph into docs/results.md; with --print it writes nothing.

First one client clicks everywhere, alone on a server of its own: its masks are the right ones. Then all clients click
on a server that starts cold. A client clicks on an image a few times, then opens another. A click is cold if it is the
first on its image, or comes before the first is answered.
"""

import argparse
import io
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, write_result
from fakes.label_studio import FakeLabelStudio
from fakes.serving import served

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.rle import decode_mask
from backend.masks.metrics import iou
from backend.settings import Settings

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei" / "images"
PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "ihc.png",
    "retina.jpg",
    "coins.png",
    "brick.png",
    "hubble_deep_field.jpg",
)
CLICKS = ((50.0, 50.0), (25.0, 30.0), (70.0, 60.0))
SAME_IOU = 0.99  # in float32 other cores add in another order, and a pixel on the edge may turn; in bfloat16 none does
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Coin"/></KeyPointLabels></View>"""

Place = tuple[int, int]  # which image, which click


@dataclass(frozen=True)
class Answer:
    """The answer to one click. `rle` as Label Studio gets it; `cold` as the module says."""

    place: Place
    status: int
    seconds: float
    cold: bool
    rle: bytes = field(repr=False)
    size: tuple[int, int]


@cache
def _sources() -> Sequence[Image.Image]:
    folder = resources.files("skimage.data")
    nuclei = sorted(NUCLEI.iterdir()) if NUCLEI.is_dir() else []
    return [Image.open(path).convert("RGB") for path in (*(folder / name for name in PHOTOGRAPHS), *nuclei)]


def pictures(count: int, *, seed: int = 0) -> list[bytes]:
    """`count` different crops of microscopy images and photographs, 256 to 1000 px wide, as JPEG files."""
    chance = np.random.default_rng(seed)
    made = []
    for source in itertools.islice(itertools.cycle(_sources()), count):
        width, height = (int(side * chance.uniform(0.6, 0.95)) for side in source.size)
        left, top = (int(chance.integers(0, room + 1)) for room in (source.width - width, source.height - height))
        crop = source.crop((left, top, left + width, top + height))
        crop.thumbnail((1000, 1000))
        file = io.BytesIO()
        crop.save(file, "JPEG", quality=92)
        made.append(file.getvalue())
    return made


class Clients:
    """Annotators in front of a backend at `url`, in a project with these tasks."""

    def __init__(self, url: str, *, project_id: int, tasks: Sequence[dict[str, Any]]) -> None:
        self._url, self._project_id, self._tasks = f"{url}/predict", project_id, tasks
        self._lock = threading.Lock()
        self._warm: set[int] = set()

    def body(self, place: Place) -> dict[str, Any]:
        """What Label Studio posts for one click."""
        image, click = place
        x, y = CLICKS[click]
        value = {"x": x, "y": y, "width": 0.3, "keypointlabels": ["Coin"]}
        region = {"type": "keypointlabels", "from_name": "kp", "to_name": "image", "is_positive": True, "value": value}
        return {
            "tasks": [self._tasks[image]],
            "project": f"{self._project_id}.1",
            "label_config": CONFIG,
            "params": {"context": {"result": [region]}},
        }

    def click(self, session: requests.Session, place: Place) -> Answer:
        """Click once and wait."""
        image, body = place[0], self.body(place)
        cold = image not in self._warm
        began = time.perf_counter()
        reply = session.post(self._url, json=body, timeout=100)
        seconds = time.perf_counter() - began
        if not reply.ok:
            return Answer(place, reply.status_code, seconds, cold, b"", (0, 0))
        with self._lock:
            self._warm.add(image)
        regions = reply.json()["results"][0]["result"]
        if not regions:  # nothing but specks, on a background without an object
            return Answer(place, reply.status_code, seconds, cold, b"", (0, 0))
        (found,) = regions
        size = (found["original_height"], found["original_width"])
        return Answer(place, reply.status_code, seconds, cold, bytes(found["value"]["rle"]), size)

    def everywhere(self) -> dict[Place, Answer]:
        """One client alone, every click on every image."""
        with requests.Session() as session:
            places = itertools.product(range(len(self._tasks)), range(len(CLICKS)))
            return {place: self.click(session, place) for place in places}

    def together(self, count: int, *, seconds: float, think_s: float, seed: int = 0) -> list[Answer]:
        """Let `count` clients click for so many seconds; they think `think_s` on average between two clicks."""
        until, answers = time.monotonic() + seconds, []
        together = threading.Barrier(count)

        def annotate(number: int) -> None:
            chance = random.Random(f"{seed} {number}")
            with requests.Session() as session:
                together.wait()
                while time.monotonic() < until:
                    image = chance.randrange(len(self._tasks))
                    for _ in range(chance.randint(1, 5)):
                        if think_s:
                            time.sleep(min(chance.expovariate(1 / think_s), max(0.0, until - time.monotonic())))
                        if time.monotonic() >= until:
                            return
                        answers.append(self.click(session, (image, chance.randrange(len(CLICKS)))))

        threads = [threading.Thread(target=annotate, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers


def agreement(answer: Answer, right: Answer) -> float:
    """IoU with the right mask, 0 for an answer of another size; 1 where both are empty."""
    if answer.size != right.size:
        return 0.0
    if answer.rle == right.rle:
        return 1.0
    ours, truth = (
        decode_mask(list(reply.rle), height_px=reply.size[0], width_px=reply.size[1]) for reply in (answer, right)
    )
    return iou(ours, truth)


def report(answers: Sequence[Answer], right: dict[Place, Answer], *, seconds: float) -> dict[str, Any]:
    """The figures of a run, as JSON."""
    ious = [agreement(answer, right[answer.place]) for answer in answers if answer.status == 200]
    times = {
        "warm": [answer.seconds for answer in answers if not answer.cold],
        "cold": [answer.seconds for answer in answers if answer.cold],
    }
    return {
        "clicks": len(answers),
        "clicks_a_second": round(len(answers) / seconds, 1),
        "images": len({answer.place[0] for answer in answers}),
        "errors": sorted({answer.status for answer in answers if answer.status != 200}),
        "failed": sum(answer.status != 200 for answer in answers),
        "wrong_masks": int(sum(value < SAME_IOU for value in ious)),
        "identical": round(int(sum(value == 1 for value in ious)) / max(1, len(ious)), 4),
        "lowest_iou": round(float(min(ious, default=0.0)), 5),
        **{
            kind: {"n": len(taken)}
            | {f"p{p}_s": round(float(np.percentile(taken, p)), 3) for p in (50, 95, 99) if taken}
            for kind, taken in times.items()
        },
    }


def describe(found: dict[str, Any], *, given: argparse.Namespace) -> str:
    """The figures in words."""
    warm, cold = (
        f"{found[kind]['p50_s']:.2f}, {found[kind]['p95_s']:.2f} and {found[kind]['p99_s']:.2f} s"
        for kind in ("warm", "cold")
    )
    return (
        f"{given.clients} clients click on {given.images} images for {given.seconds:.0f} s, from a cold start "
        f"(`python tests/benchmarks/clients.py`). Of {found['clicks']} clicks, {found['failed']} failed, and "
        f"{found['wrong_masks']} got another mask than a lone client gets ({found['identical']:.0%} are identical to "
        f"the last bit). Half, 95 % and 99 % of the warm clicks are answered within {warm}. Of the cold clicks, they "
        f"are answered within {cold}, because a cold click waits until its image and the images before it are encoded. "
        f"The server takes {found['memory_mib'][1]} MiB of memory."
    )


@contextmanager
def project(
    files: Sequence[bytes], *, address: str = "127.0.0.1"
) -> Iterator[tuple[FakeLabelStudio, int, list[dict[str, Any]]]]:
    """A Label Studio at this address with one project of these images: itself, the project's id and its tasks."""
    with FakeLabelStudio(address=address) as studio:
        client = LabelStudio(studio.url, studio.token)
        project_id = int(client.create_project("clients", CONFIG)["id"])
        client.import_images(project_id, {f"{number:03d}.jpg": data for number, data in enumerate(files)})
        tasks = sorted(client.tasks(project_id), key=lambda task: task["id"])
        yield studio, project_id, [{"id": task["id"], "data": task["data"]} for task in tasks]


def main() -> None:
    """Let one client click, then all, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--think-seconds", type=float, default=2.0, help="mean pause of a client between two clicks")
    parser.add_argument("--model", help="absent: SAMLOOP_MODEL, or the default")
    parser.add_argument("--right", type=Path, help="file that keeps the masks of one client alone, for further runs")
    parser.add_argument("--print", action="store_true", help="write nothing into docs/results.md")
    given, measured = parser.parse_args(), commit()
    settings = Settings.from_env()
    with tempfile.TemporaryDirectory() as work, project(pictures(given.images)) as (studio, project_id, tasks):
        environ = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": studio.token,
            "SAMLOOP_MODEL": given.model or settings.sam.model or "",
        }
        weights = settings.cache.dir / "weights"

        def server(name: str) -> Any:
            return served(Path(work) / name, environ=environ, weights=weights)

        right = _load(given.right)
        if right is None:
            with server("alone") as alone:
                right = Clients(alone.url, project_id=project_id, tasks=tasks).everywhere()
            _save(given.right, right)
        with server("together") as together:
            before = together.memory_bytes()
            clients = Clients(together.url, project_id=project_id, tasks=tasks)
            answers = clients.together(given.clients, seconds=given.seconds, think_s=given.think_seconds)
            figures = {"memory_mib": [before >> 20, together.memory_bytes() >> 20], "metrics": together.metrics()}
    found = report(answers, right, seconds=given.seconds) | figures
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if not given.print:
        write_result("clients", describe(found, given=given) + f" On {machine()}; commit {measured}.")


def _load(path: Path | None) -> dict[Place, Answer] | None:
    if path is None or not path.exists():
        return None
    rows = json.loads(path.read_text())
    return {
        tuple(row["place"]): Answer(
            tuple(row["place"]), 200, row["seconds"], False, bytes.fromhex(row["rle"]), tuple(row["size"])
        )
        for row in rows
    }


def _save(path: Path | None, right: dict[Place, Answer]) -> None:
    if path is not None:
        rows = [
            {"place": answer.place, "seconds": answer.seconds, "rle": answer.rle.hex(), "size": answer.size}
            for answer in right.values()
        ]
        path.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
