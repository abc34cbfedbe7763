"""An embedding comes from the nearest tier, is computed once however many ask, and is the same from everywhere."""

import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.waiting import soon, wait_until

from backend.errors import Busy
from backend.files import durable
from backend.masks.metrics import iou
from backend.masks.prompt import Click, Prompt
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, MemoryEmbeddings, halve, widen
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Embedding, Predictor, encode
from backend.serving.embeddings.store import EmbeddingStore
from backend.serving.turns.lanes import Lane
from backend.serving.turns.traffic import Priority, Traffic

IMAGE_BYTES = 8 * 4 * 4 * 2
Opened = Callable[..., EmbeddingStore]


def embedding(value: float = 0.0) -> Embedding:
    return Embedding(features=torch.full((1, 8, 4, 4), value), height_px=30, width_px=40)


def key(image: int | str) -> EmbeddingKey:
    return EmbeddingKey(image_sha256=str(image), encoder_fingerprint="encoder", preprocessing="plain")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """`opened()`: a store on the folder of this test; one more is what a restarted server, or a second one, has."""
    lanes = []

    def make(*, images: int = 100, **lane: Any) -> EmbeddingStore:
        lanes.append(Lane("encode", **({"workers": 4, "waiting": 100, "cores": 4, "traffic": Traffic()} | lane)))
        disk = DiskEmbeddings(tmp_path / "disk", max_bytes=1 << 30)
        return EmbeddingStore(memory=MemoryEmbeddings(images * IMAGE_BYTES), disk=disk, lane=lanes[-1])

    yield make
    for lane in lanes:
        lane.close()


def get(store: EmbeddingStore, image: int | str, compute: Callable[[], Embedding] = embedding) -> Embedding:
    return store.get(key(image), compute, priority=Priority.CLICK, until_s=soon())


def test_however_many_ask_at_once_it_is_computed_once(opened: Opened) -> None:
    store, computed, together = opened(), [], threading.Barrier(16, timeout=120)

    def compute() -> Embedding:
        computed.append(1)
        wait_until(lambda: store.counts.joined == 15)
        return embedding(7.0)

    def client(_: int) -> Embedding:
        together.wait()
        return get(store, "one", compute)

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(client, range(16)))

    assert len(computed) == 1
    assert all(torch.equal(answer.features, answers[0].features) for answer in answers)
    assert (store.counts.computed, store.counts.joined) == (1, 15)


def test_two_servers_on_one_folder_compute_it_once(opened: Opened) -> None:
    stores, computed = [opened(), opened()], []

    def compute() -> Embedding:
        computed.append(1)
        wait_until(lambda: all(store._lane.running for store in stores))  # the other server wants it too
        return embedding(7.0)

    with ThreadPoolExecutor(2) as clients:
        list(clients.map(lambda store: get(store, "one", compute), stores))

    assert len(computed) == 1


def test_two_images_are_computed_side_by_side(opened: Opened) -> None:
    store, both = opened(), threading.Barrier(2, timeout=120)

    def compute() -> Embedding:
        both.wait()  # breaks, if one waits for the other
        return embedding()

    with ThreadPoolExecutor(2) as clients:
        assert len(list(clients.map(lambda image: get(store, image, compute), range(2)))) == 2


def test_a_failure_reaches_all_who_wait_and_is_not_kept(opened: Opened) -> None:
    store, asked = opened(), threading.Event()

    def fail() -> Embedding:
        asked.wait(120)
        raise ValueError("no such image")

    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(get, store, "bad", fail) for _ in range(4)]
        asked.set()
        for answer in answers:
            with pytest.raises(ValueError, match="no such image"):
                answer.result()

    assert get(store, "bad", lambda: embedding(1.0)).features[0, 0, 0, 0] == 1.0


def test_a_restarted_server_reads_what_the_one_before_computed(opened: Opened) -> None:
    noise = Embedding(features=torch.randn(1, 8, 4, 4), height_px=30, width_px=40)
    computed = get(opened(), "a", lambda: noise)

    restarted = opened()
    found = get(restarted, "a", lambda: pytest.fail("computed again"))

    assert torch.equal(found.features, computed.features), "other masks than before the restart"
    assert (restarted.counts.disk, restarted.counts.computed) == (1, 0)
    get(restarted, "a", lambda: pytest.fail("computed again"))
    assert (restarted.counts.memory, restarted.counts.disk) == (1, 1)


def test_what_memory_lets_go_is_still_on_disk(opened: Opened) -> None:
    store = opened(images=2)
    for image in range(5):
        get(store, image, lambda image=image: embedding(float(image)))
    assert store.memory.bytes <= 2 * IMAGE_BYTES

    assert get(store, 0, lambda: pytest.fail("computed again")).features[0, 0, 0, 0] == 0
    assert key(1) in store


def test_a_full_disk_costs_a_warning_and_not_a_request(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened()

    def full(path: Path, data: bytes, *, is_synced: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "write_new", full)

    assert get(store, "a", lambda: embedding(3.0)).features[0, 0, 0, 0] == 3.0

    assert "could not be stored on disk" in caplog.text
    assert "SAMLOOP_DISK_MIB" in caplog.text
    assert store.counts.unwritten == 1
    assert get(store, "a", lambda: pytest.fail("computed again")).features[0, 0, 0, 0] == 3.0, "memory has it"


def test_a_peek_finds_what_any_tier_has_and_computes_nothing(opened: Opened) -> None:
    store = opened()
    assert store.peek(key("a")) is None
    get(store, "a", lambda: embedding(2.0))

    for server in (store, opened()):
        found = server.peek(key("a"))
        assert found is not None
        assert found.features[0, 0, 0, 0] == 2.0


def test_a_click_on_an_image_that_is_being_warmed_up_waits_for_that_and_hastens_it(opened: Opened) -> None:
    traffic = Traffic()
    store, began, finish = opened(traffic=traffic), threading.Event(), threading.Event()

    def compute() -> Embedding:
        began.set()
        finish.wait(120)
        return embedding(1.0)

    with ThreadPoolExecutor(2) as pool:
        warming = pool.submit(store.get, key("a"), compute, priority=Priority.PREWARM, until_s=soon())
        began.wait(120)
        click = pool.submit(get, store, "a", lambda: pytest.fail("computed twice"))
        (job,) = store._computing.values()
        wait_until(lambda: job.priority is Priority.CLICK, explain=lambda: "the click never hastened it")
        assert store.counts.joined == 1
        finish.set()
        assert click.result().features[0, 0, 0, 0] == warming.result().features[0, 0, 0, 0] == 1.0
    assert not store._computing


def test_a_full_lane_refuses_the_image_and_takes_it_later(opened: Opened) -> None:
    store, finish = opened(workers=2, waiting=1), threading.Event()

    def compute() -> Embedding:
        finish.wait(120)
        return embedding()

    with ThreadPoolExecutor(3) as pool:
        for image in range(3):  # two run, one waits
            pool.submit(get, store, image, compute)
            wait_until(lambda image=image: len(store._computing) > image)
            wait_until(lambda image=image: store._lane.running == min(image + 1, 2))
        with pytest.raises(Busy, match="try again"):
            get(store, "one more")
        finish.set()
    assert get(store, "one more").height_px == 30
    assert not store._computing


@pytest.mark.weights
def test_an_image_that_makes_room_for_another_projects_is_refused_and_taken_later(opened: Opened) -> None:
    """The lane refuses it while the store puts the other in line: neither may wait for the other."""
    store, done, begun = opened(workers=2, waiting=2), threading.Event(), threading.Barrier(3, timeout=120)
    with ThreadPoolExecutor(5) as clients:

        def ask(image: str, owner: int) -> Future[Embedding]:
            def compute() -> Embedding:
                if image in {"seven 0", "seven 1"}:
                    begun.wait()
                assert done.wait(120)
                return embedding()

            return clients.submit(
                lambda: store.get(key(image), compute, priority=Priority.CLICK, until_s=soon(), owner=owner)
            )

        hoarded = [ask(f"seven {number}", 7) for number in range(2)]
        begun.wait()  # else the lane might be full before its workers take the first two
        hoarded += [ask(f"seven {number}", 7) for number in range(2, 4)]
        wait_until(lambda: store._lane.waiting == 2)
        other = ask("eight", 8)
        wait_until(lambda: store._lane.refused == 1)
        done.set()
        answers = [future.exception() for future in hoarded]
        assert sum(isinstance(fault, Busy) for fault in answers) == 1
        assert other.exception() is None
    assert all(get(store, f"seven {number}").height_px for number in range(4))


def test_rounding_to_sixteen_bits_moves_no_mask_on_photographs(mobile_base: BaseModel, astronaut: Image.Image) -> None:
    from skimage import data

    predictor = Predictor(mobile_base, decoder_of(mobile_base, None), version="x")
    prompts = [Prompt(clicks=(Click(x_px=float(x), y_px=float(y)),)) for x in (60, 150, 250) for y in (60, 130, 200)]
    agreements, shifts = [], []
    for image in (astronaut, Image.fromarray(data.chelsea()), Image.fromarray(data.coins()).convert("RGB")):
        exact = encode(mobile_base, image)
        rounded = widen(halve(exact))
        for a, b in zip(predictor.decode(exact, prompts), predictor.decode(rounded, prompts), strict=True):
            agreements.append(iou(a.mask, b.mask))
            shifts.append(float(np.abs(a.low_res_logits - b.low_res_logits).max()))

    assert np.mean(agreements) > 0.999
    assert min(agreements) > 0.99
    assert max(shifts) < 0.2  # of logits that reach from -20 to 20
