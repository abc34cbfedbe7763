"""A trained adapter, and the kinds that there are."""

from dataclasses import replace

import pytest
import torch

from backend.sam.adapters.kind import Adapter, AdapterKind
from backend.sam.adapters.served import list_kinds

ADAPTER = Adapter("lora", 2, 4.0, {"a": torch.ones(2, 3), "b": torch.zeros(3, 2)})


def test_the_kinds_are_those_whose_files_lie_there() -> None:
    kinds = list_kinds()
    assert list(kinds) == ["conv-lora", "lora"]
    assert all(isinstance(kind, AdapterKind) and kind.name == name for name, kind in kinds.items())


def test_a_digest_depends_on_the_values_and_not_on_the_order_of_the_names() -> None:
    turned = replace(ADAPTER, state=dict(reversed(ADAPTER.state.items())))
    assert turned.digest == ADAPTER.digest


@pytest.mark.parametrize(
    "change",
    [{"kind": "conv-lora"}, {"rank": 3}, {"alpha": 4.5}, {"state": {**ADAPTER.state, "b": torch.full((3, 2), 1e-6)}}],
)
def test_a_digest_changes_with_all_that_changes_what_an_encoder_sees(change: dict[str, object]) -> None:
    assert replace(ADAPTER, **change).digest != ADAPTER.digest  # type: ignore[arg-type]
