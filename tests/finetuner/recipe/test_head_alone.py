"""Beside a new semantic head stands what is served: the base, or a champion's decoder and adapter, without its head."""

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.checkpoints import make_manifest

from backend.registry.checkpoint import write_checkpoint
from backend.registry.metrics import CheckpointMetrics, SemanticMetrics
from backend.sam.loading import BaseModel, decoder_bytes, decoder_of, new_head
from backend.sam.predictor import predictor_of
from backend.sam.semantic.head import PREFIX, with_semantic
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.deciding.candidate import Served
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.recipe.head_alone import _read_weights, find_kept


@pytest.fixture
def context(tiny_settings: Settings) -> TrainingContext:
    return TrainingContext.open(tiny_settings, config=config_of(tiny_settings), progress=silent)


@pytest.fixture
def champion(context: TrainingContext, tmp_path: Path) -> Served:
    """A champion with a decoder of its own and a head."""
    base = context.base
    decoder = decoder_of(base, None)
    with torch.no_grad():
        next(decoder.parameters()).add_(1)
    semantic = SemanticMetrics(labels=("Disc",), is_served=True)
    manifest = make_manifest(
        version="v1",
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        metrics=CheckpointMetrics(semantic=semantic),
    )
    weights = with_semantic(decoder_bytes(decoder), new_head(base, labels=("Disc",)))
    write_checkpoint(tmp_path / "v1", weights=weights, manifest=manifest)
    predictor = predictor_of(base, tmp_path / "v1")
    return Served(version="v1", predictor=predictor, folder=tmp_path / "v1", is_live=True)


def test_what_is_kept_answers_a_projects_people_now(context: TrainingContext, champion: Served) -> None:
    assert find_kept(champion, context=context) is champion.predictor
    base = find_kept(Served(version="the base", is_live=True), context=context)
    assert base is not None
    assert base.base is context.base


def test_offline_and_beside_another_base_nothing_is_kept(context: TrainingContext, champion: Served) -> None:
    assert find_kept(Served(version="the base"), context=context) is None
    assert find_kept(replace(champion, of_base="another"), context=context) is None


def test_the_weights_are_those_of_what_is_served_without_its_head(context: TrainingContext, champion: Served) -> None:
    def equal(weights: bytes, base: BaseModel, folder: Path | None) -> bool:
        state = safetensors.torch.load(weights)
        assert not any(name.startswith(PREFIX) for name in state)
        expected = decoder_of(base, folder).state_dict()
        assert len(state) == len(expected)
        return all(torch.equal(state[f"mask_decoder.{name}"], value.float()) for name, value in expected.items())

    kept = _read_weights(champion, context=context)
    assert equal(kept, context.base, champion.folder)
    assert not equal(kept, context.base, None)
    assert equal(_read_weights(Served(version="the base"), context=context), context.base, None)
