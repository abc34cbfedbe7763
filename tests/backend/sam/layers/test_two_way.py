"""The transformer gives the same in every order of its products, alone or in company."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.sam.layers.two_way import ImageCells, two_way

CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def transformer() -> nn.Module:
    torch.manual_seed(0)
    whole: Any = SamMaskDecoder(SamConfig().mask_decoder_config).eval().requires_grad_(requires_grad=False)
    return whole.transformer


def image_of(cells: int = 64) -> ImageCells:
    torch.manual_seed(1)
    return ImageCells(torch.randn(1, cells, 256), torch.randn(1, cells, 256))


def tokens_of(*, prompts: int, tokens: int) -> Tensor:
    return torch.randn(prompts, tokens, 256, generator=torch.Generator().manual_seed(2))


def count_projections(transformer: nn.Module, tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> int:
    from backend.sam.layers import two_way as module

    calls: list[Tensor] = []
    project = module._project

    def count(projection: nn.Linear, cells: Tensor, *, heads: int) -> Tensor:
        calls.append(cells)
        return project(projection, cells, heads=heads)

    monkeypatch.setattr(module, "_project", count)
    two_way(transformer, tokens, image_of())
    return len(calls)


@pytest.mark.parametrize(("prompts", "tokens"), [(2, 7), (3, 7), (9, 8), (2, 20)])
def test_prompts_together_get_what_each_prompt_gets_alone(transformer: nn.Module, prompts: int, tokens: int) -> None:
    every, image = tokens_of(prompts=prompts, tokens=tokens), image_of()

    queries, keys = two_way(transformer, every, image)

    for row in range(prompts):
        own_queries, own_keys = two_way(transformer, every[row : row + 1], image)
        torch.testing.assert_close(queries[row], own_queries[0], **CLOSE)
        torch.testing.assert_close(keys[row], own_keys[0], **CLOSE)


@pytest.mark.parametrize(
    ("prompts", "tokens", "expected"),
    [(1, 7, 0), (2, 7, 0), (3, 7, 3), (1, 20, 8)],
    ids=["one", "two", "three share the first layer", "many tokens in every layer"],
)
def test_cells_are_projected_where_that_is_less_work(
    transformer: nn.Module, monkeypatch: pytest.MonkeyPatch, prompts: int, tokens: int, expected: int
) -> None:
    assert count_projections(transformer, tokens_of(prompts=prompts, tokens=tokens), monkeypatch) == expected


def test_the_tokens_that_answer_are_the_first_of_all(transformer: nn.Module) -> None:
    image, tokens = image_of(), tokens_of(prompts=2, tokens=9)

    queries, keys = two_way(transformer, tokens, image, answering=5)

    whole, cells = two_way(transformer, tokens, image)
    assert queries.shape == (2, 5, 256)
    torch.testing.assert_close(queries, whole[:, :5], **CLOSE)
    torch.testing.assert_close(keys, cells, **CLOSE)


@pytest.mark.parametrize("prompts", [1, 4])
def test_a_gradient_is_that_of_every_prompt_alone(transformer: nn.Module, prompts: int) -> None:
    transformer.requires_grad_()
    image, tokens = image_of(), tokens_of(prompts=prompts, tokens=7)

    def gradients(*rows: Tensor) -> list[Tensor]:
        transformer.zero_grad()
        for some in rows:
            queries, keys = two_way(transformer, some, image)
            (queries.square().sum() + keys.square().sum()).backward()  # type: ignore[no-untyped-call]
        return [parameter.grad.clone() for parameter in transformer.parameters() if parameter.grad is not None]

    together, alone = gradients(tokens), gradients(*tokens.split(1))

    transformer.requires_grad_(requires_grad=False)
    assert together
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)
