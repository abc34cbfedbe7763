"""A layer and its GELU in one operation are the layer and its GELU, wherever they run."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from backend.sam.layers import pointwise
from backend.sam.layers.pointwise import convolution, has_fused_operations, linear
from backend.serving.turns import machine_share

pytestmark = pytest.mark.arithmetic

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def linear_layer(dtype: torch.dtype, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40, bias=bias).to(dtype).requires_grad_(requires_grad=False)


def convolutions(dtype: torch.dtype) -> list[nn.Conv2d]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.Conv2d(8, 16, 3, 1, 1, bias=False)]
    return [
        layer.to(dtype).to(memory_format=torch.channels_last).requires_grad_(requires_grad=False) for layer in layers
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gelu", [True, False])
@given(rows=st.integers(1, 40), seed=st.integers(0, 99), bias=st.booleans())
def test_a_linear_layer_gives_what_pytorch_gives(
    dtype: torch.dtype, gelu: bool, rows: int, seed: int, bias: bool
) -> None:
    layer = linear_layer(dtype, bias=bias)
    x = torch.randn(2, rows, 24, generator=torch.Generator().manual_seed(seed)).to(dtype)

    plain = layer(x)

    expected = functional.gelu(plain) if gelu else plain
    torch.testing.assert_close(linear(layer, x, gelu=gelu), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gelu", [True, False])
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_convolution_gives_what_pytorch_gives(
    dtype: torch.dtype, gelu: bool, height: int, width: int, seed: int
) -> None:
    x = torch.randn(1, 8, height, width, generator=torch.Generator().manual_seed(seed)).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in convolutions(dtype):
        plain = layer(x)
        expected = functional.gelu(plain) if gelu else plain
        found = convolution(layer, x, gelu=gelu)
        torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_what_comes_in_finer_numbers_than_the_weights_is_rounded_to_theirs() -> None:
    assert linear(linear_layer(torch.bfloat16), torch.randn(3, 24)).dtype == torch.bfloat16
    assert convolution(convolutions(torch.bfloat16)[0], torch.randn(1, 8, 4, 4)).dtype == torch.bfloat16


def test_gradients_pass_as_through_the_layers() -> None:
    layer, conv = (layer.requires_grad_() for layer in (linear_layer(torch.bfloat16), convolutions(torch.bfloat16)[0]))

    linear(layer, torch.randn(3, 24), gelu=True).sum().backward()
    convolution(conv, torch.randn(1, 8, 4, 4), gelu=True).sum().backward()

    assert layer.weight.grad is not None
    assert conv.weight.grad is not None


class Doubled(nn.Linear):
    """A stand-in for an adapter around a layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_layer_that_is_more_than_linear_is_called_as_it_is() -> None:
    plain, more = linear_layer(torch.float32), Doubled(24, 40).requires_grad_(requires_grad=False)
    more.load_state_dict(plain.state_dict())
    x = torch.randn(3, 24)

    assert torch.equal(linear(more, x), 2 * plain(x))


@pytest.fixture
def asked_anew() -> Iterator[None]:
    has_fused_operations.cache_clear()
    yield
    has_fused_operations.cache_clear()


def other_answer(*_: object) -> torch.Tensor:
    raise RuntimeError("expected at most 5 arguments")


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    "operations",
    [
        SimpleNamespace(),
        SimpleNamespace(_linear_pointwise=other_answer, _convolution_pointwise=other_answer),
        SimpleNamespace(
            _linear_pointwise=lambda x, weight, bias, *_: functional.linear(x, weight, bias) + 1,
            _convolution_pointwise=lambda x, weight, bias, *_: functional.conv2d(x, weight, bias, padding=1),
        ),
    ],
    ids=["missing", "of another signature", "wrong"],
)
def test_where_the_operations_are_not_what_they_should_be_the_layers_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, operations: SimpleNamespace
) -> None:
    layer, x = linear_layer(torch.bfloat16), torch.randn(3, 24).bfloat16()
    expected = functional.gelu(layer(x))
    monkeypatch.setattr(pointwise.torch.ops, "mkldnn", operations)

    assert not has_fused_operations("cpu", torch.bfloat16)
    assert torch.equal(linear(layer, x, gelu=True), expected)


def test_other_devices_keep_their_own_ways() -> None:
    assert not has_fused_operations("cuda", torch.bfloat16)
    assert not has_fused_operations("cpu", torch.float16)


@pytest.mark.skipif(not has_fused_operations("cpu", torch.bfloat16), reason="this PyTorch has no fused operations")
def test_an_encode_makes_way_before_fused_operations_too() -> None:
    paused: list[bool] = []
    x, weight = torch.randn(3, 24).bfloat16(), torch.ones(40, 24).bfloat16()

    with machine_share._MakingWay(lambda: paused.append(True)):
        pointwise._linear(x, weight, None, gelu=True)

    assert paused
