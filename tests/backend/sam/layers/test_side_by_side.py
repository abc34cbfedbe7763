"""Parts of a layer are computed side by side, in any order, and joined in their own order."""

import os
import threading
from collections.abc import Iterator
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.sam.families.mobile import mobile_sam_config
from backend.sam.layers import side_by_side, tiny_vit
from backend.sam.layers.side_by_side import join_parts, map_parts, split_evenly
from backend.sam.layers.tiny_vit import TinyVitEncoder

PARTS = [slice(number, number + 1) for number in range(6)]


@pytest.fixture(autouse=True)
def _cores() -> Iterator[None]:
    """Three threads, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@given(total=st.integers(1, 500), most=st.integers(1, 500))
def test_parts_cover_all_once_and_are_even_in_number_and_about_as_long(total: int, most: int) -> None:
    with torch.no_grad():
        parts = split_evenly(total, most=most, like=torch.zeros(1))

    assert [number for part in parts for number in range(part.start, part.stop)] == list(range(total))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) <= most or total <= most
    assert max(lengths) - min(lengths) <= 1
    assert len(parts) == 1 or len(parts) % 2 == 0 or len(parts) == total


def test_a_gradient_passes_through_all_parts_in_the_thread_that_records_it() -> None:
    weight, threads = torch.ones(1, requires_grad=True), set()

    def work(part: slice) -> torch.Tensor:
        threads.add(threading.get_ident())
        return weight * part.start

    torch.cat(map_parts(work, PARTS)).sum().backward()

    assert weight.grad is not None
    assert weight.grad.item() == 15
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("dim", [0, 2])
def test_parts_are_joined_in_their_order_and_maps_stay_channels_last(*, dim: int, learns: bool) -> None:
    x = torch.arange(6 * 2 * 6 * 3.0).view(6, 2, 6, 3).contiguous(memory_format=torch.channels_last)

    with torch.set_grad_enabled(learns):
        joined = join_parts(lambda part: 2 * x.narrow(dim, part.start, 1), PARTS, dim=dim)

    assert torch.equal(joined, 2 * x)
    assert joined.is_contiguous(memory_format=torch.channels_last)


def test_several_threads_share_the_parts_and_the_cores() -> None:
    """All three wait for one another, so none can have taken all."""
    together = threading.Barrier(3, timeout=60)
    teams: dict[int, int] = {}

    def work(part: slice) -> int:
        if part.start < 3:
            together.wait()
        teams[threading.get_ident()] = torch.get_num_threads()
        return part.start

    with torch.no_grad():
        assert map_parts(work, PARTS) == [0, 1, 2, 3, 4, 5]
    assert list(teams.values()) == [1, 1, 1]
    assert torch.get_num_threads() == 3


def test_the_error_of_a_part_is_raised_and_leaves_the_threads_as_they_were() -> None:
    def work(part: slice) -> int:
        if part.start == 2:
            raise ValueError("no part two")
        return part.start

    with torch.no_grad(), pytest.raises(ValueError, match="no part two"):
        map_parts(work, PARTS)
    assert torch.get_num_threads() == 3
    with torch.no_grad():
        assert map_parts(lambda part: part.start, PARTS) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("is_inference", [False, True])
def test_all_threads_compute_in_the_mode_of_the_caller(*, is_inference: bool) -> None:
    with torch.inference_mode(is_inference), torch.no_grad():
        made = map_parts(lambda _: torch.ones(1) * 2, PARTS)

    assert [value.is_inference() for value in made] == [is_inference] * 6
    assert not any(value.requires_grad for value in made)


@torch.no_grad()
def test_a_forked_process_gets_threads_of_its_own() -> None:
    """Fails, after a minute, where the child waits for its parent's threads."""
    map_parts(lambda part: part.start, PARTS)
    assert side_by_side._pool.cache_info().currsize == 1
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, bytes(map_parts(lambda part: part.start, PARTS)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == bytes(range(6))
    os.waitpid(child, 0)


@pytest.mark.arithmetic
def test_strips_and_cores_change_no_bit_of_an_image() -> None:
    torch.manual_seed(0)
    encoder = TinyVitEncoder(mobile_sam_config().vision_config).eval()
    pixels = torch.randn(1, 3, 256, 256)

    def encode(*, numbers: int, cores: int) -> torch.Tensor:
        torch.set_num_threads(cores)
        with torch.no_grad(), mock.patch.object(tiny_vit, "STRIP_NUMBERS", numbers):
            found: torch.Tensor = encoder(pixels).last_hidden_state
        return found

    whole = encode(numbers=1 << 40, cores=1)
    for cores in (1, 2, 3):
        assert torch.equal(encode(numbers=1 << 14, cores=cores), whole)
