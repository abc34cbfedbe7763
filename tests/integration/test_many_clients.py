"""Many annotators on one server: nobody gets another's mask or an error, and what it holds stays within its bounds."""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import requests
from benchmarks.clients import CONFIG, Clients, pictures, project, report
from fakes.label_studio import FakeLabelStudio
from fakes.serving import Served, served
from support.checkpoints import make_manifest

from backend.errors import Busy
from backend.registry.local import LocalRegistry
from backend.sam.loading import decoder_bytes, decoder_of, load_base

IMAGES, CACHE_MIB = 18, 8


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[FakeLabelStudio, int, list[dict[str, Any]]]]:
    with project(pictures(IMAGES)) as made:
        yield made


def environ(studio: FakeLabelStudio, model: Path, **more: str) -> dict[str, str]:
    known = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "SAMLOOP_MODEL": str(model),
        "SAMLOOP_CACHE_MIB": str(CACHE_MIB),
        "SAMLOOP_DISK_MIB": "64",
        "SAMLOOP_POLL_SECONDS": "0.2",
    }
    return known | more


@pytest.mark.long
def test_sixteen_clients_get_the_masks_that_one_gets_and_no_error(
    house: tuple[FakeLabelStudio, int, list[dict[str, Any]]], tiny_sam_dir: Path, tmp_path: Path
) -> None:
    studio, project_id, tasks = house
    settings = environ(studio, tiny_sam_dir)
    with served(tmp_path / "alone", environ=settings) as alone:
        right = Clients(alone.url, project_id=project_id, tasks=tasks).everywhere()
    assert len({answer.rle for answer in right.values()}) > IMAGES, "the pictures must differ for this to mean anything"

    with served(tmp_path / "together", environ=settings) as together:
        began_s = time.monotonic()
        answers = Clients(together.url, project_id=project_id, tasks=tasks).together(16, seconds=4.0, think_s=0.02)
        figures = report(answers, right, seconds=time.monotonic() - began_s)
        metrics = together.metrics()

    assert figures["failed"] == 0, figures
    assert figures["wrong_masks"] == 0, figures
    assert figures["clicks"] >= 16, "every client clicks, however slow the machine"
    # However many clicked on it at once, an image was encoded once.
    assert metrics["samloop_embeddings_computed_total"] <= IMAGES, metrics
    assert metrics["samloop_embeddings_bytes"] <= CACHE_MIB << 20


class Day:
    """A day of random use in seconds: clicks, projects, images never seen before, swaps, mistakes."""

    def __init__(self, running: Served, studio: FakeLabelStudio, models: Path, base_dir: Path) -> None:
        self.running, self.studio, self.registry = running, studio, LocalRegistry(models)
        self.base = load_base(str(base_dir), cache_dir=models / "cache", device="cpu")
        self.statuses: set[int] = set()
        self._new = itertools.count()

    def publish(self, project_id: int) -> str:
        manifest = make_manifest(
            project_id=project_id, base_model=self.base.name, base_fingerprint=self.base.fingerprint
        )
        weights = decoder_bytes(decoder_of(self.base, None))
        return self.registry.publish(project_id, weights=weights, manifest=manifest).version

    def use(self, clicks: int, *, clients: int, seed: int) -> None:
        """So many clicks of every client, while versions come and go."""
        versions = {project_id: self.publish(project_id) for project_id in (1, 2, 3)}

        def client(number: int) -> None:
            chance = random.Random(f"{seed} {number}")
            with requests.Session() as session:
                for _ in range(clicks):
                    self.statuses.add(session.post(f"{self.running.url}/predict", json=self.body(chance)).status_code)

        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(client, number) for number in range(clients)]
            chance = random.Random(seed)
            while wait(running, timeout=0.3).not_done:
                project_id = chance.choice(list(versions))
                self.registry.promote(project_id, chance.choice([versions[project_id], None]), reason="a swap")
            for client in running:
                client.result()

    def body(self, chance: random.Random) -> dict[str, Any]:
        if chance.random() < 0.5:  # an image that nobody saw before
            path = f"/data/upload/1/{next(self._new)}.jpg"
            self.studio._uploads[path] = pictures(1, seed=chance.randrange(1 << 30))[0]
        else:
            path = f"/data/upload/1/shared-{chance.randrange(5)}.jpg"
            if path not in self.studio._uploads:
                self.studio._uploads[path] = pictures(1, seed=int(path[-5]))[0]
        if chance.random() < 0.05:
            path = "/data/upload/1/gone.png"
        value = {"x": chance.uniform(0, 100), "y": chance.uniform(0, 100), "width": 1, "keypointlabels": ["Coin"]}
        return {
            "tasks": [{"id": chance.randrange(1, 1000), "data": {"image": path}}],
            "project": f"{chance.randrange(1, 6)}.1",
            "label_config": CONFIG,
            "params": {"context": {"result": [{"type": "keypointlabels", "is_positive": True, "value": value}]}},
        }


@pytest.mark.long
def test_a_day_of_random_use_leaves_memory_threads_and_disk_where_they_were(tiny_sam_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with FakeLabelStudio() as studio, served(folder, environ=environ(studio, tiny_sam_dir)) as running:
        day = Day(running, studio, folder / "models", tiny_sam_dir)
        for seed in range(20):  # until the cache is full, and every thread there will be is there
            day.use(6, clients=8, seed=seed)
            if running.metrics()["samloop_embeddings_bytes"] > (CACHE_MIB << 20) * 0.8:
                break
        else:
            pytest.fail("the cache never filled")
        full_bytes, threads = running.memory_bytes(), running.threads()

        for seed in (21, 22, 23):
            day.use(6, clients=8, seed=seed)
            metrics = running.metrics()
            assert metrics["samloop_embeddings_bytes"] <= CACHE_MIB << 20
            assert metrics["samloop_embeddings_disk_bytes"] <= 64 << 20
        # A margin for malloc, and for what eight clients have under way. Of 70 new images, 200 MB would be left.
        assert running.memory_bytes() - full_bytes < 96 << 20, "the server grows"
        assert running.threads() <= threads + 4, "threads pile up"
        # 424: the image that is gone. No 5xx, and nobody was refused.
        assert day.statuses <= {200, 424}, day.statuses
        assert metrics["samloop_encode_waiting"] == metrics["samloop_decode_waiting"] == 0


def test_a_full_server_says_when_to_ask_again_and_goes_on_answering_health(
    house: tuple[FakeLabelStudio, int, list[dict[str, Any]]], tiny_sam_dir: Path, tmp_path: Path
) -> None:
    studio, project_id, tasks = house
    replies: list[requests.Response] = []
    with served(tmp_path / "server", environ=environ(studio, tiny_sam_dir, SAMLOOP_WAITING="1")) as running:
        clients = Clients(running.url, project_id=project_id, tasks=tasks)
        studio.delay("/data/upload", seconds=2.0)

        def click(number: int) -> None:
            body = clients.body((number, 0))
            replies.append(requests.post(f"{running.url}/predict", json=body, timeout=120))

        threads = [threading.Thread(target=click, args=(number,)) for number in range(IMAGES)]
        for thread in threads:
            thread.start()
        health = [requests.get(f"{running.url}/health", timeout=60).status_code for _ in range(10)]
        for thread in threads:
            thread.join()
        refused = [reply for reply in replies if reply.status_code == 503]
        assert {reply.status_code for reply in replies} == {200, 503}
        assert all(1 <= int(reply.headers["Retry-After"]) <= 60 for reply in refused)
        assert all("try again" in reply.json()["error"] for reply in refused)
        assert health == [200] * 10
        # What was refused is taken now.
        studio.delay("/data/upload", seconds=0.0)
        with requests.Session() as session:
            assert clients.click(session, (0, 1)).status == 200
    assert Busy.status == 503
