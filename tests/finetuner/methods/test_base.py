"""A method says how its checkpoints are exported, and at which pace its adapter learns."""

import pytest

from backend.errors import BadInput
from backend.sam.adapters import conv_lora, lora
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.methods.base import Method, MethodKind


def _begin(base: BaseModel, config: TrainConfig) -> Method:
    raise BadInput(f"{base.name} is not trained here, with {config.epochs} epochs or any other")


def test_the_recipes_pace_goes_before_the_methods_own() -> None:
    kind = MethodKind(name="toy", begin=_begin, pace=4.0)
    assert kind.pace_of(TrainConfig()) == 4.0
    assert kind.pace_of(TrainConfig(encoder_pace=7.0)) == 7.0


@pytest.mark.parametrize(("adapter", "merged"), [(None, True), (lora.KIND, True), (conv_lora.KIND, False)])
def test_other_programs_can_load_what_has_no_adapter_or_one_that_is_merged(adapter: object, merged: bool) -> None:
    assert MethodKind(name="toy", begin=_begin, adapter=adapter).is_exported_merged is merged
