"""Embeddings on disk survive, stay within their bytes, and a damaged one is a miss."""

import errno
import logging
import multiprocessing
import os
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.files import durable
from backend.sam.embeddings.embedding import Embedding
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, halve

PLENTY = 1 << 30


def embedding(value: float = 0.0) -> Embedding:
    return Embedding(features=torch.full((1, 8, 4, 4), value), height_px=30, width_px=40)


def key(image: int | str, *, encoder: str = "encoder", preprocessing: str = "plain") -> EmbeddingKey:
    return EmbeddingKey(image_sha256=str(image), encoder_fingerprint=encoder, preprocessing=preprocessing)


def size_of_one(folder: Path) -> int:
    DiskEmbeddings(folder, max_bytes=PLENTY).put(key("probe"), embedding())
    (file,) = folder.glob("*.safetensors")
    return file.stat().st_size


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*safetensors*"))


def test_what_was_put_comes_back_in_another_process_rounded_once(tmp_path: Path) -> None:
    made = Embedding(features=torch.randn(1, 8, 4, 4), height_px=123, width_px=45_678)

    DiskEmbeddings(tmp_path / "new", max_bytes=PLENTY).put(key("a"), made)
    back = DiskEmbeddings(tmp_path / "new", max_bytes=PLENTY).get(key("a"))

    assert back is not None
    assert torch.equal(back.features, halve(made).features)
    assert (back.height_px, back.width_px) == (123, 45_678)
    assert not back.features.is_inference()


def test_a_file_takes_two_bytes_a_number(tmp_path: Path) -> None:
    disk = DiskEmbeddings(tmp_path, max_bytes=PLENTY)
    disk.put(key("a"), Embedding(features=torch.randn(1, 256, 64, 64), height_px=1, width_px=1))

    assert 2 << 20 < disk.usage_bytes() < (2 << 20) + 1024


def test_a_file_from_before_there_were_finer_maps_is_read(tmp_path: Path) -> None:
    """After an upgrade nobody encodes a project again."""
    disk, made = DiskEmbeddings(tmp_path, max_bytes=PLENTY), halve(embedding(0.5))
    disk.put(key("a"), embedding(0.0))
    (file,) = files(tmp_path)
    size_px = torch.tensor([30, 40])
    checksum = zlib.crc32(size_px.numpy().tobytes(), zlib.crc32(made.features.contiguous().numpy().tobytes()))
    state = {"features": made.features.contiguous(), "size_px": size_px, "crc32": torch.tensor(checksum)}
    file.write_bytes(safetensors.torch.save(state))

    back = disk.get(key("a"))

    assert back is not None
    assert torch.equal(back.features, made.features)
    assert (back.height_px, back.width_px, back.finer) == (30, 40, ())


def test_what_was_never_put_is_absent(tmp_path: Path) -> None:
    disk = DiskEmbeddings(tmp_path, max_bytes=PLENTY)
    disk.put(key("a"), embedding())

    for other in (key("b"), key("a", encoder="tuned"), key("a", preprocessing="cropped")):
        assert disk.get(other) is None
        assert other not in disk
    assert key("a") in disk
    assert DiskEmbeddings(tmp_path / "nowhere", max_bytes=PLENTY).get(key("a")) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:-16] + bytes(16),
        lambda data: bytes(len(data)),
    ],
    ids=["cut short", "empty", "a header too long", "its end is other numbers", "zeros, as after a power cut"],
)
def test_a_damaged_file_counts_as_absent_and_is_removed(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskEmbeddings(tmp_path, max_bytes=PLENTY)
    disk.put(key("a"), embedding(1.0))
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))

    assert disk.get(key("a")) is None

    assert not file.exists()
    assert "is damaged" in caplog.text
    disk.put(key("a"), embedding(1.0))
    assert disk.get(key("a")) is not None


@settings(max_examples=25, deadline=None)
@given(room=st.integers(1, 4), asked=st.lists(st.integers(0, 7), max_size=25))
def test_it_keeps_the_images_used_last_and_never_more_than_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, room: int, asked: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("embeddings")
    one = size_of_one(tmp_path_factory.mktemp("one"))
    disk, last, now = DiskEmbeddings(folder, max_bytes=room * one + one // 2), [], time.time() - 1e6

    for image in asked:
        found = disk.get(key(image))
        assert (found is not None) is (image in last[-room:])
        if found is None:
            disk.put(key(image), embedding(float(image)))
        # Clocks of file systems tick in milliseconds and the uses here are nearer to each other.
        now += 1
        os.utime(disk._path(key(image)), (now, now))
        last = [*(other for other in last if other != image), image]
        assert disk.usage_bytes() <= room * one + one // 2


def test_reading_is_use_so_that_another_goes_first(tmp_path: Path) -> None:
    one = size_of_one(tmp_path / "one")
    disk = DiskEmbeddings(tmp_path / "kept", max_bytes=2 * one)
    for age_s, image in ((100, "a"), (50, "b")):
        disk.put(key(image), embedding())
        os.utime(disk._path(key(image)), (time.time() - age_s,) * 2)

    disk.get(key("a"))
    disk.put(key("c"), embedding())

    assert [name for name in "abc" if key(name) in disk] == ["a", "c"]


def test_what_is_larger_than_the_tier_is_not_kept(tmp_path: Path) -> None:
    disk = DiskEmbeddings(tmp_path, max_bytes=100)
    disk.put(key("a"), embedding())

    assert disk.get(key("a")) is None
    assert not files(tmp_path)


def test_a_file_that_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    disk = DiskEmbeddings(tmp_path, max_bytes=PLENTY)
    fresh, old = tmp_path / ".x.safetensors.1.aa", tmp_path / ".x.safetensors.2.bb"
    fresh.write_bytes(b"half")
    old.write_bytes(b"half")
    os.utime(old, (0, 0))

    disk.put(key("a"), embedding())

    assert fresh.exists()
    assert not old.exists()


def test_a_full_disk_is_an_error_that_names_itself_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskEmbeddings(tmp_path, max_bytes=PLENTY)

    def full(path: Path, data: bytes, *, is_synced: bool) -> None:
        with path.open("xb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write_new", full)
        with pytest.raises(OSError, match="No space left"):
            disk.put(key("a"), embedding())

    assert not files(tmp_path)


def test_readers_never_see_a_half_written_file(tmp_path: Path) -> None:
    disk, stop = DiskEmbeddings(tmp_path, max_bytes=PLENTY), Event()
    disk.put(key("a"), embedding())

    def write() -> None:
        while not stop.is_set():
            disk.put(key("a"), embedding(1.0))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        assert all(disk.get(key("a")) is not None for _ in range(300))
        stop.set()
    for writer in writers:
        writer.result()
    assert len(files(tmp_path)) == 1


def _size(path: Path) -> int:
    """Of a file that another process may take away at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _fill(folder: Path, first: int, *, max_bytes: int) -> tuple[int, int]:
    """In a process of its own: puts and gets; tells the most bytes seen, and how many came back other than put."""
    disk, most, wrong = DiskEmbeddings(folder, max_bytes=max_bytes), 0, 0
    for image in range(first, first + 40):
        disk.put(key(image % 25), embedding(float(image % 25)))
        most = max(most, sum(map(_size, folder.glob("*.safetensors"))))
        found = disk.get(key((image * 7) % 25))
        wrong += found is not None and float(found.features[0, 0, 0, 0]) != (image * 7) % 25
    return most, wrong


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Three processes beside this one; a process takes seconds to load torch."""
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_several_processes_together_stay_within_the_bytes_and_never_mix_up(
    processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    max_bytes = 6 * size_of_one(tmp_path / "one")
    folder = tmp_path / "shared"
    runs = [processes.submit(_fill, folder, 11 * number, max_bytes=max_bytes) for number in range(3)]
    seen = [run.result(timeout=300) for run in runs]

    assert all(wrong == 0 for _, wrong in seen)
    assert all(most <= max_bytes for most, _ in seen)
    assert DiskEmbeddings(folder, max_bytes=max_bytes).usage_bytes() <= max_bytes


def _compute_alone(folder: Path) -> float:
    """In a process of its own: computes unless it is there; tells how long the encoder ran."""
    disk = DiskEmbeddings(folder, max_bytes=PLENTY)
    with disk.alone(key("a"), longest_s=30.0):
        if disk.get(key("a")) is not None:
            return 0.0
        time.sleep(0.5)
        disk.put(key("a"), embedding())
        return 0.5


def test_several_processes_that_want_one_embedding_compute_it_once(
    processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    assert sum(processes.map(_compute_alone, [tmp_path] * 3)) == 0.5


def test_who_waited_long_enough_for_another_process_goes_on(tmp_path: Path) -> None:
    disk, other = (DiskEmbeddings(tmp_path, max_bytes=PLENTY) for _ in range(2))
    with other.alone(key("a"), longest_s=1.0), disk.alone(key("b"), longest_s=60.0):
        began_s = time.monotonic()
        with disk.alone(key("a"), longest_s=0.1):
            assert 0.1 <= time.monotonic() - began_s < 60


def test_a_folder_that_cannot_be_written_computes_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    disk = DiskEmbeddings(blocked / "below", max_bytes=PLENTY)

    with caplog.at_level(logging.DEBUG), disk.alone(key("a"), longest_s=1.0):
        assert disk.get(key("a")) is None
    with pytest.raises(OSError, match=r"Not a directory|exists"):
        disk.put(key("a"), embedding())
