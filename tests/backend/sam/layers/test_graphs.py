"""What runs as a graph gives what it gives without, whatever was asked before; on a processor nothing is recorded."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from backend.sam.layers.graphs import Graphs

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def double(values: Tensor, more: Tensor | None) -> tuple[Tensor, ...]:
    return (2 * values if more is None else 2 * values + more,)


def test_a_processor_calls_the_function() -> None:
    values = torch.ones(3)

    (made,) = Graphs(torch.device("cpu")).run("double", double, values, None)

    assert torch.equal(made, torch.full((3,), 2.0))


@needs_cuda
def test_every_call_gives_its_own_results() -> None:
    graphs, device = Graphs(torch.device("cuda")), torch.device("cuda")
    with torch.inference_mode():
        made = [graphs.run("double", double, torch.full((3,), float(k), device=device), None)[0] for k in range(6)]

    assert [values.tolist() for values in made] == [[2.0 * k] * 3 for k in range(6)]
    assert not made[-1].is_inference()  # a training may use it


@needs_cuda
def test_shapes_and_absent_arguments_have_graphs_of_their_own() -> None:
    graphs, device = Graphs(torch.device("cuda")), torch.device("cuda")
    for _ in range(3):
        for count in (1, 4):
            ones = torch.ones(count, device=device)
            with torch.no_grad():
                assert graphs.run("double", double, ones, None)[0].tolist() == [2.0] * count
                assert graphs.run("double", double, ones, ones)[0].tolist() == [3.0] * count


@needs_cuda
def test_what_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    graphs, device = Graphs(torch.device("cuda")), torch.device("cuda")

    def waiting(values: Tensor) -> tuple[Tensor, ...]:
        return (values * float(values.sum()),)  # reads from the device

    with torch.no_grad():
        for _ in range(3):
            assert graphs.run("waiting", waiting, torch.ones(2, device=device))[0].tolist() == [2.0, 2.0]
        assert graphs.run("double", double, torch.ones(2, device=device), None)[0].tolist() == [2.0, 2.0]

    assert caplog.text.count("without a CUDA graph") == 1


@needs_cuda
def test_threads_get_their_own_results() -> None:
    graphs, device = Graphs(torch.device("cuda")), torch.device("cuda")

    def ask(k: int) -> list[float]:
        with torch.inference_mode():
            return graphs.run("double", double, torch.full((2,), float(k), device=device), None)[0].tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == [[2.0 * k] * 2 for k in range(200)]


@needs_cuda
def test_graphs_of_several_versions_share_memory_and_keep_their_results_apart() -> None:
    device = torch.device("cuda")
    versions = [Graphs(device) for _ in range(3)]

    with torch.no_grad():
        for _ in range(4):
            made = [
                graphs.run("double", double, torch.full((1000,), float(k), device=device), None)[0]
                for k, graphs in enumerate(versions)
            ]

    assert [values.unique().tolist() for values in made] == [[2.0 * k] for k in range(3)]
