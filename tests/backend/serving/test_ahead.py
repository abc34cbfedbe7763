"""What comes next is embedded while the annotator looks at this one, and never in the way of a click."""

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from PIL import Image
from support.waiting import wait_until

from backend.errors import BadInput, Busy
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.label_config import parse_label_config
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Embedding, encode
from backend.serving import task_embeddings
from backend.serving.ahead import Prewarm
from backend.serving.embedding_store import EmbeddingStore
from backend.serving.engine import open_lanes, open_store
from backend.serving.lanes import Lanes
from backend.serving.task_embeddings import HeldImages, TaskEmbeddings
from backend.serving.traffic import Priority
from backend.serving.warming import warm_tasks
from backend.settings import Settings

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def base(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return load_base(str(tiny_sam_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu")


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as studio:
        yield studio


class House:
    """A project of ten pictures in a Label Studio, and a server's insides with everything but HTTP."""

    def __init__(self, studio: FakeLabelStudio, base: BaseModel, settings: Settings, *, ahead: int = 3) -> None:
        self.studio, self.settings = studio, settings
        self.client = LabelStudio(studio.url, studio.token)
        self.project_id = int(self.client.create_project("pictures", CONFIG)["id"])
        self.client.import_images(self.project_id, {f"{seed:02d}.png": picture(seed) for seed in range(10)})
        self.tasks = sorted(self.client.tasks(self.project_id), key=lambda task: task["id"])
        self.lanes: Lanes = open_lanes(base, settings)
        self.store: EmbeddingStore = open_store(settings, lane=self.lanes.encode)
        self.embeddings = TaskEmbeddings(base=base, store=self.store, max_pixels=10_000_000)
        self.images = ImageSource(settings=settings, label_studio=self.client)
        self.prewarm = Prewarm(self.embeddings, traffic=self.lanes.traffic, ahead=ahead).start()

    def close(self) -> None:
        self.prewarm.stop()
        self.lanes.close()
        self.prewarm.join(longest_s=120)

    def open(self, index: int, **changes: Any) -> None:
        known = {"project_id": self.project_id, "label_config": CONFIG, "images": self.images}
        self.prewarm.opened(self.tasks[index], **(known | {"label_studio": self.client} | changes))

    def embed(self, index: int, *, crop_px: tuple[int, int, int, int] | None = None) -> Embedding:
        return self.embeddings.of(
            self.tasks[index],
            config=parse_label_config(CONFIG),
            images=self.images,
            priority=Priority.CLICK,
            until_s=time.monotonic() + 60,
            crop_px=crop_px,
        )

    def lists(self) -> int:
        return sum(request.path == "/api/tasks" for request in self.studio.requests)


@pytest.fixture
def settings(tmp_path: Path, studio: FakeLabelStudio) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", label_studio_url=studio.url, label_studio_api_key=studio.token)


@pytest.fixture
def house(studio: FakeLabelStudio, base: BaseModel, settings: Settings) -> Iterator[House]:
    house = House(studio, base, settings)
    yield house
    house.close()


def test_the_opened_task_and_the_next_ones_are_warm_when_the_clicks_come(house: House) -> None:
    house.open(4)
    wait_until(lambda: house.prewarm.embedded == 4)
    computed = house.store.counts.computed

    for index in (4, 5, 6, 7):
        house.embed(index)

    assert house.store.counts.computed == computed == 4


def test_from_task_to_task_only_what_is_new_is_read_and_embedded(house: House) -> None:
    house.open(0)
    wait_until(lambda: house.prewarm.embedded == 4)
    reads = sum(request.path.startswith("/data/") for request in house.studio.requests)

    house.open(1)
    wait_until(lambda: house.prewarm.embedded == 5)

    assert sum(request.path.startswith("/data/") for request in house.studio.requests) == reads + 1


def test_further_clicks_on_a_task_ask_label_studio_nothing(house: House) -> None:
    house.open(0)
    wait_until(lambda: house.prewarm.embedded == 4)
    lists = house.lists()

    for _ in range(5):
        house.open(0)
    house.open(3)
    wait_until(lambda: house.prewarm.embedded == 7)

    assert house.lists() == lists + 1


def test_switched_off_it_does_nothing(studio: FakeLabelStudio, base: BaseModel, settings: Settings) -> None:
    house, before = House(studio, base, settings, ahead=0), set(threading.enumerate())
    house.open(0)
    time.sleep(0.2)
    assert not set(threading.enumerate()) - before
    assert house.store.counts.computed == 0
    house.close()


def test_while_a_click_is_answered_nothing_new_is_begun(house: House) -> None:
    with house.lanes.traffic.click():
        house.open(0)
        time.sleep(0.5)
        assert house.store.counts.computed == 0
    wait_until(lambda: house.prewarm.embedded == 4)


def test_an_encode_ahead_pauses_between_two_operations_until_the_click_is_answered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.embed(9)
    inside, go_on = threading.Event(), threading.Event()
    real = encode

    def watched(base: BaseModel, image: Image.Image) -> Embedding:
        inside.set()
        go_on.wait(120)
        return real(base, image)

    monkeypatch.setattr(task_embeddings, "encode", watched)
    house.open(0)
    assert inside.wait(120)
    with house.lanes.traffic.click():
        go_on.set()
        time.sleep(0.5)
        assert house.store.counts.computed == 1, "the encode ran on beside the click"
        assert house.lanes.encode.running == 1
        house.embed(9)  # warm: neither waits for it nor needs a lane
    wait_until(lambda: house.prewarm.embedded == 4)


def test_a_click_on_the_very_image_that_is_paused_sets_it_going(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()
    real = encode

    def watched(base: BaseModel, image: Image.Image) -> Embedding:
        inside.set()
        go_on.wait(120)
        return real(base, image)

    monkeypatch.setattr(task_embeddings, "encode", watched)
    house.open(0)
    assert inside.wait(120)
    with ThreadPoolExecutor(1) as pool, house.lanes.traffic.click():
        click = pool.submit(house.embed, 0)
        wait_until(lambda: house.store.counts.joined)
        go_on.set()
        assert click.result(timeout=120).width_px == 32
    assert house.store.counts.computed >= 1


def test_a_broken_image_costs_only_itself(house: House) -> None:
    house.tasks[5]["data"]["image"] = "/data/upload/1/gone.png"
    house.client.update_project(house.project_id, title="broken")
    house.studio._rows["task"][house.tasks[5]["id"]]["data"] = {"image": "/data/upload/1/gone.png"}

    house.open(4)

    wait_until(lambda: house.prewarm.embedded == 3)


@pytest.mark.parametrize("status", [500, 404])
def test_without_label_studio_the_opened_task_is_embedded_all_the_same(house: House, status: int) -> None:
    house.studio.fail("/api/projects", status=status, times=100)
    house.open(0)
    wait_until(lambda: house.prewarm.embedded == 1)
    house.open(1, label_studio=None)
    wait_until(lambda: house.prewarm.embedded == 2)


def test_a_task_without_a_number_or_with_a_config_that_is_none_is_let_be(house: House) -> None:
    house.prewarm.opened(
        {"id": ["x"]}, project_id=1, label_config=CONFIG, images=house.images, label_studio=house.client
    )
    house.open(0, label_config="<View/>")
    house.open(1)
    wait_until(lambda: house.prewarm.embedded == 4)


def test_a_crop_is_an_embedding_of_its_own_kept_like_the_others(house: House) -> None:
    whole, crop = house.embed(0), house.embed(0, crop_px=(4, 2, 20, 12))
    assert (whole.width_px, whole.height_px) == (32, 24)
    assert (crop.width_px, crop.height_px) == (16, 10)
    computed = house.store.counts.computed
    house.embed(0, crop_px=(4, 2, 20, 12))
    assert house.store.counts.computed == computed == 2


def test_a_whole_project_is_embedded_and_what_is_left_out_says_why(house: House) -> None:
    house.embed(0)
    tasks = [*house.tasks[:5], {"id": 77, "data": {"image": "/data/upload/1/gone.png"}}, {"id": 78, "data": {}}]

    def run() -> list[Any]:
        config = parse_label_config(CONFIG)
        return list(warm_tasks(tasks, embeddings=house.embeddings, config=config, images=house.images))

    first, again = run(), run()

    assert [each.task_id for each in first] == [task["id"] for task in tasks]
    assert [each.computed for each in first] == [False, True, True, True, True, False, False]
    assert "Label Studio" in first[5].why
    assert "no image" in first[6].why
    assert not any(each.computed for each in again), "a second run goes on where the first ended"


def test_the_settings_decide_how_many(settings: Settings) -> None:
    assert Settings.from_env({"SAMLOOP_PREWARM": "0"}).serving.prewarm == 0
    assert settings.changed(prewarm=5).serving.prewarm == 5


def test_images_that_wait_for_the_encoder_are_bounded_in_bytes(house: House, base: BaseModel) -> None:
    house.embeddings = TaskEmbeddings(
        base=base, store=house.store, max_pixels=10_000_000, held=HeldImages(len(picture(0)) * 3 // 2)
    )
    release = threading.Event()
    for _ in range(20):  # all of the lane's workers
        house.lanes.encode.submit(lambda: release.wait(120), priority=Priority.CLICK)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(house.embed, 0)
        wait_until(lambda: house.embeddings._held._bytes)

        with pytest.raises(Busy, match="MiB of images wait for the encoder already: try again"):
            house.embed(1)

        release.set()
        assert first.result(120).height_px == 24
    assert house.embed(1).height_px == 24


def test_an_image_that_alone_is_over_the_bound_is_embedded_all_the_same(house: House, base: BaseModel) -> None:
    house.embeddings = TaskEmbeddings(base=base, store=house.store, max_pixels=10_000_000, held=HeldImages(1))

    assert house.embed(0).height_px == 24


def test_what_a_failed_request_held_is_given_back() -> None:
    held = HeldImages(10)
    with pytest.raises(BadInput, match="no image"), held.holding(8):
        raise BadInput("no image")

    with held.holding(10):
        assert held._bytes == 10
