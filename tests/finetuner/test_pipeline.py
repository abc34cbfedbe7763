"""A whole training of a project: a Label Studio that speaks real HTTP, a real registry, a tiny SAM."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fakes.label_studio import FakeLabelStudio
from PIL import Image
from support.project_training import judge_by, train_and_listen

from backend.errors import NotAuthorized, NothingToLearn, SettingsError, Unavailable
from backend.labelstudio.api.client import LabelStudio
from backend.registry.checkpoint import REPORT_FILE
from backend.registry.local import LocalRegistry
from backend.sam.loading import decoder_of, load_base
from backend.sam.predictor import predictor_of
from backend.settings import Settings
from finetuner import pipeline
from finetuner.context import TrainingContext
from finetuner.data.dataset import data_digest
from finetuner.presets import config_of
from finetuner.progress import PHASES, silent

Json = dict[str, Any]


def test_a_project_becomes_a_version_that_can_be_served(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
    outcome, told = train_and_listen(project, settings.replace(training_epochs=6, head="semantic"))
    assert outcome.promoted
    assert outcome.reason.startswith("as the test wants it; the semantic head is not promoted: mean IoU")
    registry = LocalRegistry(settings.registry.model_dir)
    champion = registry.champion(project)
    assert champion is not None
    assert champion.version == outcome.version
    manifest = registry.manifest(champion.version)
    decoder_of(load_base(settings.sam.model, cache_dir=settings.cache.dir), registry.materialise(champion.version))

    assert (manifest.project_id, manifest.parent, manifest.method) == (project, None, "decoder")
    assert {row.reason: row.count for row in manifest.excluded} == {
        "a region of type keypointlabels is not a mask": 8,
        "the annotator skipped the task": 1,
    }
    # People find the page beside the weights, and the manifest vouches for it as for them.
    page = (registry.materialise(champion.version) / REPORT_FILE).read_bytes()
    assert manifest.files[REPORT_FILE].sha256 == hashlib.sha256(page).hexdigest()
    assert b"data:image/png;base64," in page
    metrics = manifest.metrics
    assert metrics.split is not None
    assert metrics.data is not None
    assert metrics.candidate is not None
    split = metrics.split
    assert (split.train_images + len(split.held_out), split.train_objects) == (8, 2 * split.train_images)
    assert len(split.learnt) == split.train_images
    assert metrics.data.labels["Disc"].objects == 16
    assert metrics.data.left_out[0].count == 8
    box = metrics.candidate.with_prompt("box")
    assert None not in {box.iou, box.boundary_iou}
    assert box.n == 2 * len(split.held_out)
    assert manifest.config.to_json()["epochs"] == 6
    assert len(manifest.data_digest) == 64

    assert list(dict.fromkeys(note["phase"] for note in told)) == list(PHASES)
    trained = [note for note in told if note["phase"] == "training"]
    epochs = [note for note in trained if "epochs" in note]
    assert epochs[-1]["epochs"] == 6  # its work may be done a step before the last one ends
    assert epochs[-1]["loss"] > 0
    assert trained[-1]["head"] == "semantic"
    assert trained[-1]["loss"] > 0
    json.dumps(outcome.verdict, allow_nan=False)
    json.dumps(told, allow_nan=False)


def test_the_next_training_is_compared_with_what_is_served(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
    first, _ = train_and_listen(project, settings)
    monkeypatch.undo()
    second, _ = train_and_listen(project, settings)
    registry = LocalRegistry(settings.registry.model_dir)
    assert second.version is not None
    manifest = registry.manifest(second.version)
    # The same annotations and the same seed: the same weights, so nothing is gained, and the champion stays.
    assert manifest.data_digest == registry.manifest(first.version or "").data_digest
    assert not second.promoted
    assert f"no certain gain over {first.version}" in second.reason
    assert manifest.parent == first.version
    assert manifest.metrics.difference_to_served is not None
    assert manifest.metrics.difference_to_served["point"]["iou"] == (0.0, 0.0, 0.0)
    champion = registry.champion(project)
    assert champion is not None
    assert champion.version == first.version
    assert [checkpoint.version for checkpoint in registry.versions(project)] == [first.version, second.version]


@pytest.mark.parametrize("is_first", [True, False], ids=["over the base", "over a champion"])
def test_a_head_that_is_a_gain_is_promoted_alone_and_prompts_keep_the_served_decoder(
    project: int, settings: Settings, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = LocalRegistry(settings.registry.model_dir)
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, dtype="float32")
    served = None
    if not is_first:
        monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
        served, _ = train_and_listen(project, settings.replace(training_epochs=2))
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=False))
    monkeypatch.setattr("finetuner.semantic.beside.FLOOR", 0.0)
    monkeypatch.setattr("finetuner.semantic.judging.HeadVerdict.is_gain", True)
    monkeypatch.setattr("finetuner.semantic.judging.HeadVerdict.is_worse", False)
    monkeypatch.setattr("finetuner.recipe.trained.choose_magnification", lambda *_, **__: 1.5)
    outcome, _ = train_and_listen(project, settings.replace(training_epochs=2, head="semantic"))
    assert outcome.promoted
    assert "the semantic head has mean IoU" in outcome.reason
    kept = base.name if served is None else str(served.version)
    assert "against an empty answer, which answers batches now" in outcome.reason
    assert outcome.reason.endswith(f"prompts are answered as by {kept}")

    champion = registry.champion(project)
    assert champion is not None
    assert champion.version == outcome.version
    now = predictor_of(base, registry.materialise(str(outcome.version)))
    before = None if served is None else registry.materialise(str(served.version))
    kept_decoder, own = decoder_of(base, before), decoder_of(base, registry.materialise(champion.version))
    assert_same_weights(own, kept_decoder)
    assert now.semantic is not None
    assert now.magnification is None, "the challenger's tiles are none of what is served"
    manifest = registry.manifest(str(outcome.version))
    assert manifest.parent == (None if served is None else served.version)
    assert manifest.metrics.semantic is not None
    assert (manifest.metrics.semantic.is_alone, manifest.metrics.semantic.against) == (True, "an empty answer")
    assert b"It was promoted alone" in (registry.materialise(str(outcome.version)) / REPORT_FILE).read_bytes()
    if served is None:
        assert manifest.metrics.difference is not None
        assert manifest.metrics.difference["box"]["iou"] == (0, 0, 0)

    challenger = registry.manifest(registry.versions(project)[-2].version)
    assert not challenger.verdict.promote
    if is_first:  # else the same annotations and seed gave the champion's weights again
        assert_other_weights(decoder_of(base, registry.materialise(challenger.version)), own)


def assert_same_weights(one: Any, other: Any) -> None:
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name


def assert_other_weights(one: Any, other: Any) -> None:
    assert not all(torch.equal(one.state_dict()[name], value) for name, value in other.state_dict().items())


def test_edits_and_deletions_since_the_last_training_count(
    project: int, settings: Settings, studio: FakeLabelStudio
) -> None:
    client = LabelStudio(studio.url, studio.token)
    context = TrainingContext.open(settings, config=config_of(settings), progress=silent)
    seen: list[tuple[str, int]] = []

    def look() -> None:
        samples = pipeline._samples(project, settings=settings, label_studio=client, context=context)
        seen.append((data_digest(samples), sum(len(sample.objects) for sample in samples)))

    look()
    tasks = [task for task in client.tasks(project) if not task["annotations"][0]["was_cancelled"]]
    first, second = (studio._rows["annotation"][task["annotations"][0]["id"]] for task in tasks[:2])
    first["result"][0]["value"]["brushlabels"] = ["Ring"]
    look()
    second["result"] = second["result"][1:]
    look()
    del studio._rows["annotation"][second["id"]]
    look()
    look()
    assert [objects for _, objects in seen] == [16, 16, 15, 14, 14]
    assert len({digest for digest, _ in seen}) == 4
    assert seen[-1] == seen[-2]


def test_annotators_vote_where_the_settings_say_so(
    project: int, settings: Settings, studio: FakeLabelStudio, brush: Callable[..., Json]
) -> None:
    client = LabelStudio(studio.url, studio.token)
    for task in client.tasks(project):
        masks = [np.zeros((48, 64), bool) for _ in range(2)]
        for mask, x in zip(masks, (2, 3), strict=True):
            mask[2:12, x : x + 10] = True
        for who, mask in enumerate(masks, start=2):
            client.create_annotation(task["id"], [brush(mask, "Ring")], completed_by=who)
    outcome, _ = train_and_listen(project, settings.replace(annotators="majority"))
    manifest = LocalRegistry(settings.registry.model_dir).manifest(outcome.version or "")
    assert manifest.config.to_json()["annotators"] == "majority"
    # Discs were drawn by one of three, rings by two of three; of the skipped task's image by both who count.
    assert manifest.metrics.data is not None
    assert {label: count.objects for label, count in manifest.metrics.data.labels.items()} == {"Ring": 9}
    assert {row.reason: row.count for row in manifest.excluded}["most annotators did not draw it"] == 16


def test_images_are_encoded_once_for_all_trainings(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_and_listen(project, settings)

    def encode(*_: object, **__: object) -> None:
        raise AssertionError("an image was encoded again")

    monkeypatch.setattr("finetuner.data.embeddings.encode", encode)
    train_and_listen(project, settings)


@pytest.mark.parametrize(("lost_at", "published"), [(1, 0), (2, 0), (3, 1)])
def test_whoever_lost_the_lease_publishes_and_promotes_nothing(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, lost_at: int, published: int
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
    asked = iter(range(1, 10))

    def fence() -> None:
        if next(asked) == lost_at:
            raise Unavailable("another worker trains this project by now")

    with pytest.raises(Unavailable, match="another worker"):
        train_and_listen(project, settings, fence=fence)
    registry = LocalRegistry(settings.registry.model_dir)
    assert len(registry.versions(project)) == published
    assert registry.champion(project) is None


def test_a_candidate_that_was_overtaken_stays_a_challenger(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))

    def fence() -> None:
        LocalRegistry(settings.registry.model_dir).promote(project, None, reason="somebody rolled back meanwhile")

    outcome, _ = train_and_listen(project, settings, fence=fence)
    assert not outcome.promoted
    assert "somebody else decided meanwhile" in outcome.reason


def test_an_image_that_is_gone_is_left_out(
    project: int,
    settings: Settings,
    studio: FakeLabelStudio,
    *,
    discs: Callable[..., tuple[Image.Image, list[np.ndarray]]],
    png: Callable[[Image.Image], bytes],
    brush: Callable[..., Json],
) -> None:
    client, (image, masks) = LabelStudio(studio.url, studio.token), discs(9)  # with seven left, there would be folds
    client.import_images(project, {"9.png": png(image)})
    client.create_annotation(max(task["id"] for task in client.tasks(project)), [brush(mask) for mask in masks])
    studio._uploads.pop(next(path for path in studio._uploads if path.endswith("0.png")))
    outcome, _ = train_and_listen(project, settings.replace(training_epochs=1))
    assert outcome.version is not None
    excluded = LocalRegistry(settings.registry.model_dir).manifest(outcome.version).excluded
    assert any(row.reason == "its image cannot be used" and row.examples[0]["why"] for row in excluded)


def test_without_annotations_there_is_nothing_to_learn(
    studio: FakeLabelStudio, settings: Settings, label_config: str
) -> None:
    client = LabelStudio(studio.url, studio.token)
    empty = int(client.create_project("empty", label_config)["id"])
    with pytest.raises(NothingToLearn, match="no usable image: a training needs at least two different"):
        train_and_listen(empty, settings)
    assert LocalRegistry(settings.registry.model_dir).versions(empty) == ()


def test_what_a_worker_lacks_is_named(project: int, settings: Settings) -> None:
    with pytest.raises(
        SettingsError, match="LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set where the worker runs"
    ):
        train_and_listen(project, settings.replace(label_studio_api_key=None))
    with pytest.raises(NotAuthorized, match=r"."):
        train_and_listen(project, settings.replace(label_studio_api_key="wrong"))
