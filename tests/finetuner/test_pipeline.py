"""A whole training of a project: a Label Studio that speaks real HTTP, a real registry, a tiny SAM."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.label_studio import FakeLabelStudio
from PIL import Image

from backend.errors import NotAuthorized, NothingToLearn, SettingsError, Unavailable
from backend.labelstudio.api.client import LabelStudio
from backend.registry.checkpoint import REPORT_FILE
from backend.registry.local import LocalRegistry
from backend.registry.metrics import Verdict
from backend.sam.loading import decoder_of, load_base
from backend.sam.predictor import predictor_of
from backend.settings import Settings
from finetuner import pipeline
from finetuner.context import TrainingContext
from finetuner.data.dataset import data_digest
from finetuner.pipeline import Outcome, train_project
from finetuner.presets import config_of
from finetuner.progress import PHASES, silent
from tests.support.small_bases import write_small_base

Json = dict[str, Any]


def _no_fence() -> None:
    """The lease is ours."""


@pytest.fixture
def settings(studio: FakeLabelStudio, tiny_settings: Settings) -> Settings:
    return tiny_settings.replace(label_studio_url=studio.url, label_studio_api_key=studio.token)


@pytest.fixture
def project(
    studio: FakeLabelStudio,
    label_config: str,
    discs: Callable[..., tuple[Image.Image, list[np.ndarray]]],
    png: Callable[[Image.Image], bytes],
    brush: Callable[..., Json],
) -> int:
    """Eight uploads with two annotated discs an image, a keypoint that was never answered, and one skipped task."""
    client = LabelStudio(studio.url, studio.token)
    project_id = int(client.create_project("discs", label_config)["id"])
    scenes = [discs(seed) for seed in range(9)]
    client.import_images(project_id, {f"{seed}.png": png(image) for seed, (image, _) in enumerate(scenes)})
    keypoint = {"id": "k", "type": "keypointlabels", "value": {"x": 5, "y": 5, "keypointlabels": ["Disc"]}}
    for task, (_, masks) in zip(client.tasks(project_id), scenes, strict=True):
        if task["data"]["image"].endswith("8.png"):
            client.create_annotation(task["id"], [], was_cancelled=True)
        else:
            client.create_annotation(task["id"], [*(brush(mask) for mask in masks), keypoint])
    return project_id


def _verdict(*, promote: bool) -> Callable[..., Verdict]:
    """A judge for tests: a random SAM of 96,000 weights does not get better on discs at will."""
    return lambda *_, **__: Verdict(promote=promote, reasons=("as the test wants it",))


def _train(project: int, settings: Settings, *, fence: Callable[[], None] = _no_fence) -> tuple[Outcome, list[Json]]:
    told: list[Json] = []

    def progress(phase: str, **figures: Any) -> None:
        told.append({"phase": phase, **figures})

    return train_project(project, settings=settings, progress=progress, fence=fence), told


def test_a_project_becomes_a_version_that_can_be_served(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
    outcome, told = _train(project, settings.replace(training_epochs=6, head="semantic"))
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
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
    first, _ = _train(project, settings)
    monkeypatch.undo()
    second, _ = _train(project, settings)
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


@pytest.fixture
def _first_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short training goes first, however short the long one is."""
    monkeypatch.setattr(pipeline, "plan_first", lambda config, *_, **__: replace(config, is_first=True, decodes=8))
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))


@pytest.mark.usefixtures("_first_is_planned")
def test_a_project_without_a_version_gets_one_early_and_a_better_one_in_the_end(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, told = _train(project, settings)
    registry = LocalRegistry(settings.registry.model_dir)
    first, last = registry.versions(project)
    assert [pointer.version for pointer in registry.history(project)] == [first.version, last.version]
    assert (outcome.version, outcome.promoted) == (last.version, True)
    assert outcome.verdict["first"]["version"] == first.version  # type: ignore[index]
    early, late = (registry.manifest(checkpoint.version) for checkpoint in (first, last))
    assert (early.config.is_first, late.config.is_first) == (True, False)
    assert (early.parent, late.parent) == (None, first.version)
    assert early.metrics.split is not None
    assert late.metrics.split is not None
    assert early.metrics.split.held_out == late.metrics.split.held_out
    assert [note.get("part") for note in told if note["phase"] == "checking"] == ["first version", None]

    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=False))
    again, told = _train(project, settings)
    assert "first" not in again.verdict, "the project has a version"
    assert [note["phase"] for note in told].count("checking") == 1


class Killed(BaseException):
    """The process must leave at once."""


@pytest.mark.usefixtures("_first_is_planned")
@pytest.mark.parametrize("part", ["first", "long"])
def test_a_training_that_is_killed_goes_on_in_the_part_that_it_was_in(
    project: int, settings: Settings, part: str
) -> None:
    settings = settings.replace(save_seconds=1e-6)
    published = LocalRegistry(settings.registry.model_dir)

    def kill_in_its_part(phase: str, **_: Any) -> None:
        if phase == "training" and len(published.versions(project)) == (part == "long"):
            raise Killed

    with pytest.raises(Killed):
        train_project(project, settings=settings, progress=kill_in_its_part, fence=_no_fence)
    assert len(published.versions(project)) == (part == "long")

    outcome, _ = _train(project, settings)
    assert ("first" in outcome.verdict) == (part == "first")
    first, last = published.versions(project)
    resumed = [
        ended_at.resumed
        for checkpoint in (first, last)
        if (ended_at := published.manifest(checkpoint.version).metrics.ended_at) is not None
    ]
    assert resumed == ([1, 0] if part == "first" else [0, 1])
    champion = published.champion(project)
    assert champion is not None
    assert champion.version == last.version == outcome.version


@pytest.mark.usefixtures("_first_is_planned")
def test_a_first_version_stays_where_the_long_training_is_refused_and_the_reason_says_so(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([True, False])
    monkeypatch.setattr(
        "finetuner.deciding.outcome.judge",
        lambda *_, **__: Verdict(promote=next(verdicts), reasons=("as the test wants it",)),
    )
    outcome, _ = _train(project, settings)
    first, last = LocalRegistry(settings.registry.model_dir).versions(project)
    assert (outcome.version, outcome.promoted) == (last.version, False)
    assert outcome.reason.endswith(f"; the first version, {first.version}, stays")


@pytest.mark.parametrize("is_first", [True, False], ids=["over the base", "over a champion"])
def test_a_head_that_is_a_gain_is_promoted_alone_and_prompts_keep_the_served_decoder(
    project: int, settings: Settings, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = LocalRegistry(settings.registry.model_dir)
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, dtype="float32")
    served = None
    if not is_first:
        monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
        served, _ = _train(project, settings.replace(training_epochs=2))
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=False))
    monkeypatch.setattr("finetuner.semantic.beside.FLOOR", 0.0)
    monkeypatch.setattr("finetuner.semantic.judging.HeadVerdict.is_gain", True)
    monkeypatch.setattr("finetuner.semantic.judging.HeadVerdict.is_worse", False)
    outcome, _ = _train(project, settings.replace(training_epochs=2, head="semantic"))
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
    outcome, _ = _train(project, settings.replace(annotators="majority"))
    manifest = LocalRegistry(settings.registry.model_dir).manifest(outcome.version or "")
    assert manifest.config.to_json()["annotators"] == "majority"
    # Discs were drawn by one of three, rings by two of three; of the skipped task's image by both who count.
    assert manifest.metrics.data is not None
    assert {label: count.objects for label, count in manifest.metrics.data.labels.items()} == {"Ring": 9}
    assert {row.reason: row.count for row in manifest.excluded}["most annotators did not draw it"] == 16


def test_images_are_encoded_once_for_all_trainings(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(project, settings)

    def encode(*_: object) -> None:
        raise AssertionError("an image was encoded again")

    monkeypatch.setattr("finetuner.data.embeddings.encode", encode)
    _train(project, settings)


@pytest.mark.parametrize(("lost_at", "published"), [(1, 0), (2, 0), (3, 1)])
def test_whoever_lost_the_lease_publishes_and_promotes_nothing(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, lost_at: int, published: int
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
    asked = iter(range(1, 10))

    def fence() -> None:
        if next(asked) == lost_at:
            raise Unavailable("another worker trains this project by now")

    with pytest.raises(Unavailable, match="another worker"):
        _train(project, settings, fence=fence)
    registry = LocalRegistry(settings.registry.model_dir)
    assert len(registry.versions(project)) == published
    assert registry.champion(project) is None


def test_a_candidate_that_was_overtaken_stays_a_challenger(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))

    def fence() -> None:
        LocalRegistry(settings.registry.model_dir).promote(project, None, reason="somebody rolled back meanwhile")

    outcome, _ = _train(project, settings, fence=fence)
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
    outcome, _ = _train(project, settings.replace(training_epochs=1))
    assert outcome.version is not None
    excluded = LocalRegistry(settings.registry.model_dir).manifest(outcome.version).excluded
    assert any(row.reason == "its image cannot be used" and row.examples[0]["why"] for row in excluded)


def test_without_annotations_there_is_nothing_to_learn(
    studio: FakeLabelStudio, settings: Settings, label_config: str
) -> None:
    client = LabelStudio(studio.url, studio.token)
    empty = int(client.create_project("empty", label_config)["id"])
    with pytest.raises(NothingToLearn, match="no usable image: a training needs at least two different"):
        _train(empty, settings)
    assert LocalRegistry(settings.registry.model_dir).versions(empty) == ()


def test_what_a_worker_lacks_is_named(project: int, settings: Settings) -> None:
    with pytest.raises(
        SettingsError, match="LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set where the worker runs"
    ):
        _train(project, settings.replace(label_studio_api_key=None))
    with pytest.raises(NotAuthorized, match=r"."):
        _train(project, settings.replace(label_studio_api_key="wrong"))


def test_a_champion_that_cannot_be_served_is_not_what_is_served(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
    first, _ = _train(project, settings)
    registry = LocalRegistry(settings.registry.model_dir)
    assert first.version is not None
    weights: Path = registry.materialise(first.version) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, dtype="float32")
    served = pipeline._find_served(base, registry, registry.champion(project), cache_dir=settings.cache.dir)
    assert (served.version, served.predictor) == (base.name, None)


def test_after_a_change_of_base_the_next_version_starts_from_it_and_must_beat_the_old_one_on_its_own(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
    first, _ = _train(project, settings)
    monkeypatch.undo()
    other = settings.replace(model=str(write_small_base("sam-hq", tmp_path / "other-base")))
    second, told = _train(project, other)
    registry = LocalRegistry(settings.registry.model_dir)
    old, new = sorted(registry.versions(project), key=lambda manifest: manifest.created_at)
    assert (old.version, new.version) == (first.version, second.version)
    assert (old.base_model, new.base_model) == (settings.sam.model.rsplit("/", 1)[1], "other-base")
    assert new.metrics.start is not None
    assert new.metrics.start.version == "other-base"
    assert f"IoU against {first.version}:" in second.reason
    assert {note["model"] for note in told if note.get("phase") == "evaluating" and "model" in note} >= {
        "base",
        "served",
    }
    # Measured with its own base: as good as it was then, where the same images are held out.
    assert old.metrics.candidate is not None
    assert new.metrics.served is not None
    assert new.metrics.served.box.iou == pytest.approx(old.metrics.candidate.box.iou, abs=1e-6)
    page = (registry.materialise(new.version) / REPORT_FILE).read_text()
    assert f"{first.version} was trained on another base, {old.base_model}" in page


def test_after_a_change_of_base_whose_weights_are_gone_the_new_base_is_what_must_be_beaten(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_sam_dir: Path
) -> None:
    passing = tmp_path / "passing"
    shutil.copytree(tiny_sam_dir, passing)
    monkeypatch.setattr("finetuner.deciding.outcome.judge", _verdict(promote=True))
    _train(project, settings.replace(model=str(passing)))
    shutil.rmtree(passing)
    base = load_base(str(write_small_base("sam-hq", tmp_path / "other-base")), cache_dir=settings.cache.dir)
    registry = LocalRegistry(settings.registry.model_dir)
    served = pipeline._find_served(base, registry, registry.champion(project), cache_dir=settings.cache.dir)
    assert (served.version, served.predictor) == ("other-base", None)
