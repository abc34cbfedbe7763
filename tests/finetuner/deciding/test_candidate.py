"""What a candidate and its rival are, and what they have learnt from."""

from pathlib import Path

import pytest
import torch
from support.checkpoints import make_manifest

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import CheckpointMetrics, SplitMetrics, Verdict
from backend.sam.loading import BaseModel
from backend.sam.predictor import base_predictor
from finetuner.deciding.candidate import Candidate, learnt_images
from finetuner.unfinished import State, Unfinished


def _manifest(metrics: CheckpointMetrics) -> Manifest:
    return make_manifest(
        base_model="", base_fingerprint="", method="", data_digest="", metrics=metrics, created_at="", code_version=""
    )


@pytest.mark.parametrize("metrics", [CheckpointMetrics(), CheckpointMetrics(split=SplitMetrics())])
def test_a_manifest_that_does_not_tell_what_it_learnt_from_has_learnt_from_nothing_known(
    metrics: CheckpointMetrics,
) -> None:
    assert learnt_images(_manifest(metrics)) == frozenset()


def test_a_manifest_tells_from_which_images_it_has_learnt() -> None:
    split = SplitMetrics(learnt=("a", "b"), held_out=("c",))
    assert learnt_images(_manifest(CheckpointMetrics(split=split))) == {"a", "b"}


def test_what_would_bring_a_candidate_back_goes_once_it_is_published(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path, key="a" * 64, every_s=1e-6)
    unfinished.save(1, State(tensors={"weight": torch.zeros(1)}, values={}))
    assert unfinished.load(1) is not None
    verdict = Verdict(promote=False, reasons=())
    manifest = _manifest(CheckpointMetrics())
    Candidate(weights=b"", manifest=manifest, verdict=verdict, others={}, unfinished=unfinished).forget_unfinished()
    assert unfinished.load(1) is None
    Candidate(weights=b"", manifest=manifest, verdict=verdict, others={}).forget_unfinished()


def test_the_base_is_measured_under_its_own_name(tiny_base: BaseModel) -> None:
    assert base_predictor(tiny_base).version == tiny_base.name
