"""What comes next is embedded while the annotator looks at this one, and never in the way of a click."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from PIL import Image
from support.domains import set_apart
from support.pictures import encode_image
from support.traffic import WatchedTraffic
from support.waiting import wait_until

from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.label_config import parse_label_config
from backend.masks.crop import Crop, list_tiles
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Embedding, Predictor, base_predictor, encode
from backend.serving.ahead import Prewarm
from backend.serving.embeddings import task_embeddings
from backend.serving.machine import open_machine
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority
from backend.settings import Settings

SOON_S = 120.0
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return encode_image(pixels)


@pytest.fixture(scope="module")
def base(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return load_base(str(tiny_sam_dir), cache_dir=tmp_path_factory.mktemp("cache"), device="cpu")


class House:
    """A project of ten images in a Label Studio, and a server's insides with everything but HTTP."""

    def __init__(
        self,
        studio: FakeLabelStudio,
        base: BaseModel,
        settings: Settings,
        *,
        ahead: int = 3,
        serves: Predictor | None = None,
    ) -> None:
        self.studio, self.settings = studio, settings
        self.client = LabelStudio(studio.url, studio.token)
        self.project_id = int(self.client.create_project("pictures", CONFIG)["id"])
        self.client.import_images(self.project_id, {f"{seed:02d}.png": picture(seed) for seed in range(10)})
        self.tasks = sorted(self.client.tasks(self.project_id), key=lambda task: task["id"])
        self.traffic = WatchedTraffic()
        self.machine = open_machine(base, settings, traffic=self.traffic)
        self.store, self.embeddings = self.machine.store, self.machine.embeddings
        self.images = ImageSource(settings=settings, label_studio=self.client)
        self.served = serves
        served = None if serves is None else lambda _: self.served
        self.prewarm = Prewarm(self.embeddings, traffic=self.traffic, ahead=ahead, served=served).start()

    def close(self) -> None:
        self.prewarm.stop()
        self.machine.close()
        self.prewarm.join(longest_s=SOON_S)

    def image(self, index: int) -> TaskImage:
        config = parse_label_config(CONFIG)
        return TaskImage(task=self.tasks[index], config=config, images=self.images, project_id=self.project_id)

    def open(self, index: int) -> None:
        self.prewarm.note_opened_task(self.image(index), label_studio=self.client)

    def embed(self, index: int, crop: Crop | None = None) -> Embedding:
        return self.embeddings.of(self.image(index), priority=Priority.CLICK, until_s=math.inf, crop=crop)

    def lists(self) -> int:
        return sum(request.path == "/api/tasks" for request in self.studio.requests)

    def reads(self) -> int:
        return sum(request.path.startswith("/data/") for request in self.studio.requests)


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
    reads = house.reads()

    house.open(1)
    wait_until(lambda: house.prewarm.embedded == 5)

    assert house.reads() == reads + 1


def test_further_clicks_on_a_task_ask_label_studio_nothing(house: House) -> None:
    house.open(0)
    wait_until(lambda: house.prewarm.embedded == 4)
    lists = house.lists()

    for _ in range(5):
        house.open(0)
    house.open(3)
    wait_until(lambda: house.prewarm.embedded == 7)

    assert house.lists() == lists + 1


def test_the_tiles_of_the_opened_task_and_the_next_are_warm_after_all_whole_images(
    studio: FakeLabelStudio, base: BaseModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    real = encode

    def noted(model: BaseModel, image: Image.Image, *, crop: Crop | None) -> Embedding:
        embedding = real(model, image, crop=crop)
        sizes.append((embedding.width_px, embedding.height_px))
        return embedding

    monkeypatch.setattr(task_embeddings, "encode", noted)
    house = House(studio, base, settings, serves=replace(base_predictor(base), magnification=1.5))
    with closing(house):
        house.open(4)
        wait_until(lambda: house.store.counts.computed == 4 + 2 * 4)
        assert sizes == [(32, 24)] * 4 + [(21, 16)] * 8
        for index in (4, 5):
            for tile in list_tiles(1.5):
                house.embed(index, tile.crop(24, 32))
        assert house.store.counts.computed == 12, "a first click in a tile encodes nothing"
        assert house.prewarm.embedded == 4, "tiles count as no tasks"
        house.open(5)
        wait_until(lambda: house.store.counts.computed == 12 + 1 + 4)


def test_a_version_that_answers_in_tiles_has_them_warmed_for_the_task_that_is_open_already(
    studio: FakeLabelStudio, base: BaseModel, settings: Settings
) -> None:
    plain = base_predictor(base)
    with closing(House(studio, base, settings, serves=plain)) as house:
        house.open(9)
        wait_until(lambda: house.store.counts.computed == 1)
        house.served = replace(plain, magnification=1.5)
        house.open(9)
        wait_until(lambda: house.store.counts.computed == 1 + 4)


def test_an_image_that_the_base_answers_has_no_tiles_embedded(
    studio: FakeLabelStudio, base: BaseModel, settings: Settings
) -> None:
    learnt, noise = (encode(base, image) for image in (Image.new("RGB", (32, 24)), Image.open(BytesIO(picture(0)))))
    apart = set_apart(replace(base_predictor(base), magnification=1.5), inside=learnt, elsewhere=noise)
    with closing(House(studio, base, settings, serves=apart)) as house:
        house.open(8)
        wait_until(lambda: house.prewarm.embedded == 2)
        house.prewarm.note_opened_task(replace(house.image(0), project_id=house.project_id + 1), label_studio=None)
        wait_until(lambda: house.prewarm.embedded == 3)  # whose turn comes after the tiles of the first project
        assert house.store.counts.computed == 3


def test_switched_off_it_does_nothing(studio: FakeLabelStudio, base: BaseModel, settings: Settings) -> None:
    house, before = House(studio, base, settings, ahead=0), set(threading.enumerate())
    house.open(0)
    house.close()  # would join the thread that embeds, and after that nothing more can happen
    assert not set(threading.enumerate()) - before
    assert house.store.counts.computed == 0


def test_while_a_click_is_answered_nothing_new_is_begun(house: House) -> None:
    with house.traffic.click():
        house.open(0)
        house.traffic.await_waits(3)
        assert house.store.counts.computed == 0
    wait_until(lambda: house.prewarm.embedded == 4)


def test_an_encode_ahead_pauses_between_two_operations_until_the_click_is_answered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.embed(9)
    inside, go_on = threading.Event(), threading.Event()
    real = encode

    def watched(base: BaseModel, image: Image.Image, *, crop: Crop | None) -> Embedding:
        inside.set()
        go_on.wait(SOON_S)
        return real(base, image, crop=crop)

    monkeypatch.setattr(task_embeddings, "encode", watched)
    house.open(0)
    assert inside.wait(SOON_S)
    with house.traffic.click():
        go_on.set()
        house.traffic.await_waits(3)
        assert house.store.counts.computed == 1, "the encode ran on beside the click"
        assert house.machine.lanes.encode.running == 1
        house.embed(9)  # warm: neither waits for it nor needs a lane
    wait_until(lambda: house.prewarm.embedded == 4)


def test_a_click_on_the_very_image_that_is_paused_sets_it_going(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()
    real = encode

    def watched(base: BaseModel, image: Image.Image, *, crop: Crop | None) -> Embedding:
        inside.set()
        go_on.wait(SOON_S)
        return real(base, image, crop=crop)

    monkeypatch.setattr(task_embeddings, "encode", watched)
    house.open(0)
    assert inside.wait(SOON_S)
    with ThreadPoolExecutor(1) as pool, house.traffic.click():
        click = pool.submit(house.embed, 0)
        wait_until(lambda: house.store.counts.joined)
        go_on.set()
        assert click.result(timeout=SOON_S).width_px == 32, "it would wait for itself"
        assert (house.store.counts.computed, house.store.counts.joined) == (1, 1), "one encode serves both"


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
    house.prewarm.note_opened_task(house.image(1), label_studio=None)
    wait_until(lambda: house.prewarm.embedded == 2)


def test_a_task_without_a_number_and_one_of_no_project_are_let_be(house: House) -> None:
    lists = house.lists()
    nameless = replace(house.image(0), task={"id": ["x"], "data": house.tasks[0]["data"]})
    for image in (nameless, replace(house.image(0), project_id=None)):
        house.prewarm.note_opened_task(image, label_studio=house.client)
    house.open(1)
    wait_until(lambda: house.prewarm.embedded == 4)
    assert house.lists() == lists + 1


def test_a_task_without_an_image_costs_only_itself(house: House) -> None:
    house.studio._rows["task"][house.tasks[5]["id"]]["data"] = {"text": "no image at all"}
    house.open(4)
    wait_until(lambda: house.prewarm.embedded == 3)
    house.embed(7)
    assert house.store.counts.computed == 3, "the task after it is warm"


def test_the_newest_project_is_warmed_first_and_of_a_project_the_newest_task(house: House) -> None:
    """The thread is stopped, so that what it would do next stands still."""
    house.prewarm.stop()
    house.prewarm.join(longest_s=SOON_S)
    waiting = Prewarm(house.embeddings, traffic=house.traffic, ahead=3)
    for project_id, index in ((1, 0), (2, 1), (1, 2)):
        waiting.note_opened_task(replace(house.image(index), project_id=project_id), label_studio=None)
    order = [waiting._next() for _ in range(2)]
    assert [(opened.project_id, opened.task_id) for opened in order if opened] == [
        (1, house.tasks[2]["id"]),
        (2, house.tasks[1]["id"]),
    ]


def test_the_settings_decide_how_many(settings: Settings) -> None:
    assert Settings.from_env({"SAMLOOP_PREWARM": "0"}).serving.prewarm == 0
    assert settings.replace(prewarm=5).serving.prewarm == 5
