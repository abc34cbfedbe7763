"""The image of a task is read and encoded once, from wherever its project keeps it."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pictures import encode_image
from support.waiting import SOON_S, wait_until

from backend.errors import Busy
from backend.images.seen import SeenImages
from backend.labelstudio.label_config import parse_label_config
from backend.masks.crop import Crop
from backend.sam.loading import BaseModel
from backend.serving.embeddings.held_images import HeldImages
from backend.serving.embeddings.task_embeddings import TaskEmbeddings
from backend.serving.machine import ServerMachine, open_machine
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority
from backend.settings import Settings

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return encode_image(pixels)


class Source:
    """Stands in for ImageSource: images by number, counted; `before_answer` runs while one is read."""

    name = "a studio"

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.before_answer: Callable[[], object] = lambda: None

    def fetch(self, uri: str, *, task_id: int | None = None) -> bytes:
        self.reads.append(uri)
        self.before_answer()
        return picture(int(uri))


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def machine(tiny_base: BaseModel, tmp_path: Path) -> Iterator[ServerMachine]:
    machine = open_machine(tiny_base, Settings(cache_dir=tmp_path / "cache"))
    yield machine
    machine.close()


@pytest.fixture
def make(machine: ServerMachine, tiny_base: BaseModel) -> Callable[..., TaskEmbeddings]:
    """`make(held=, seen=)`: embeddings over the machine's tiers."""

    def build(*, held: HeldImages | None = None, fresh_s: float = math.inf) -> TaskEmbeddings:
        seen = SeenImages(fresh_s=fresh_s)
        return TaskEmbeddings(base=tiny_base, store=machine.store, max_pixels=10**6, held=held, seen=seen)

    return build


def image_of(source: Any, number: int) -> TaskImage:
    return TaskImage(task={"id": number, "data": {"image": str(number)}}, config=CONFIG, images=source)


def embed(embeddings: TaskEmbeddings, image: TaskImage, *, crop: Crop | None = None) -> tuple[int, int]:
    found = embeddings.of(image, priority=Priority.CLICK, until_s=math.inf, crop=crop)
    return found.width_px, found.height_px


def test_an_image_that_was_read_a_moment_ago_is_neither_read_nor_encoded_again(
    make: Callable[..., TaskEmbeddings], machine: ServerMachine, source: Source
) -> None:
    embeddings = make()
    assert [embed(embeddings, image_of(source, 0)) for _ in range(3)] == [(32, 24)] * 3
    assert (source.reads, machine.store.counts.computed) == (["0"], 1)


def test_an_image_that_was_read_long_ago_is_read_again_since_it_may_have_changed(
    make: Callable[..., TaskEmbeddings], machine: ServerMachine, source: Source
) -> None:
    embeddings = make(fresh_s=0.0)
    for _ in range(2):
        embed(embeddings, image_of(source, 0))
    assert (source.reads, machine.store.counts.computed) == (["0", "0"], 1), "the same bytes are encoded once"


def test_a_click_on_an_image_that_is_being_read_ahead_does_not_read_it_a_second_time(
    make: Callable[..., TaskEmbeddings], machine: ServerMachine, source: Source
) -> None:
    """Both came before either had read: two requests at a Label Studio that is slow already."""
    embeddings, reading, may_answer = make(), threading.Event(), threading.Event()
    source.before_answer = lambda: (reading.set(), may_answer.wait(SOON_S))
    image = image_of(source, 0)
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(embeddings.warm, image, priority=Priority.PREWARM, until_s=math.inf)
        assert reading.wait(SOON_S)
        click = pool.submit(embed, embeddings, image)
        wait_until(lambda: embeddings.joined_reads or len(source.reads) > 1)
        may_answer.set()
        assert click.result(SOON_S) == (32, 24)
        ahead.result(SOON_S)
    assert (source.reads, machine.store.counts.computed) == (["0"], 1)


def test_what_warms_up_does_not_read_an_image_that_is_being_encoded_for_a_click(
    make: Callable[..., TaskEmbeddings], machine: ServerMachine, source: Source
) -> None:
    """The thread that warms up woke late, as on a busy machine: the bytes are there, the embedding is not yet."""
    embeddings, image, release = make(), image_of(source, 0), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):  # all of the lane's workers
            machine.lanes.encode.submit(lambda: release.wait(SOON_S), priority=Priority.CLICK)
        click = pool.submit(embed, embeddings, image)
        wait_until(lambda: machine.store._computing)
        ahead = pool.submit(embeddings.warm, image, priority=Priority.PREWARM, until_s=math.inf)
        wait_until(lambda: machine.store.counts.joined or len(source.reads) > 1)
        release.set()
        assert click.result(SOON_S) == (32, 24)
        ahead.result(SOON_S)
    assert (source.reads, machine.store.counts.computed) == (["0"], 1)


def test_what_warms_up_computes_an_image_once_and_says_so(make: Callable[..., TaskEmbeddings], source: Source) -> None:
    embeddings = make()
    warmed = [embeddings.warm(image_of(source, 0), priority=Priority.PREWARM, until_s=math.inf) for _ in range(2)]
    assert warmed == [True, False]
    assert embeddings.warm(image_of(source, 1), priority=Priority.PREWARM, until_s=math.inf)


def test_a_crop_is_an_embedding_of_its_own_kept_like_the_others(
    make: Callable[..., TaskEmbeddings], machine: ServerMachine, source: Source
) -> None:
    embeddings, image, crop = make(), image_of(source, 0), Crop(4, 2, 20, 12)
    assert embed(embeddings, image) == (32, 24)
    assert embed(embeddings, image, crop=crop) == (16, 10)
    assert machine.store.counts.computed == 2
    embed(embeddings, image, crop=crop)
    assert machine.store.counts.computed == 2


def test_images_that_wait_for_the_encoder_are_bounded_in_bytes(
    make: Callable[..., TaskEmbeddings], machine: ServerMachine, source: Source
) -> None:
    held, release = HeldImages(len(picture(0)) * 3 // 2), threading.Event()
    embeddings = make(held=held)
    for _ in range(20):  # all of the lane's workers
        machine.lanes.encode.submit(lambda: release.wait(SOON_S), priority=Priority.CLICK)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(embed, embeddings, image_of(source, 0))
        wait_until(lambda: held.bytes)
        with pytest.raises(Busy, match="MiB of images wait for the encoder already: try again"):
            embed(embeddings, image_of(source, 1))
        release.set()
        assert first.result(SOON_S) == (32, 24)
    assert embed(embeddings, image_of(source, 1)) == (32, 24)
    assert held.bytes == 0
