"""Training and measuring on an export, without a Label Studio."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.checkpoints import make_manifest

from backend.errors import BadCheckpoint, BadInput, NothingToLearn
from backend.registry.checkpoint import REPORT_FILE, WEIGHTS_FILE, read_manifest, verify_weights, write_checkpoint
from backend.registry.image_file import IMAGES_FILE
from backend.registry.metrics import CheckpointMetrics, SplitMetrics
from backend.registry.review_file import REVIEW_FILE
from backend.sam.loading import decoder_bytes, decoder_of
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.offline import evaluate_export, read_samples, train_export
from finetuner.presets import config_of
from finetuner.progress import silent

Json = dict[str, Any]


def test_an_export_becomes_a_checkpoint_that_can_be_measured(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    out, images, phases = tmp_path / "out", tmp_path / "images", []
    manifest = train_export(
        export, images, out, settings=tiny_settings, epochs=1, seed=3, progress=lambda phase, **_: phases.append(phase)
    )
    config = manifest.config.to_json()
    assert read_manifest(out) == manifest
    assert (manifest.project_id, manifest.parent, config["seed"]) == (None, None, 3)
    assert (config["epochs"], config["decodes"]) == (1, None)
    assert manifest.version.endswith(f"-offline-{manifest.data_digest[:6]}")
    assert phases[-1] == "publishing"

    told = evaluate_export(export, images, checkpoint=out, settings=tiny_settings).to_json()
    json.dumps(told, allow_nan=False)
    metrics = manifest.metrics.to_json()
    held_out = len(metrics["split"]["held_out"])
    assert (told["images"], told["objects"]) == (held_out, 2 * held_out)
    assert list(told["candidate"]["clicks"]) == [str(k) for k in range(8)]
    # Measured again, the checkpoint is what it was when it was made.
    for prompt in ("box", "point"):
        for metric, value in metrics["candidate"][prompt].items():
            assert told["candidate"][prompt][metric] == pytest.approx(value)
    assert told["difference"]["box"] == metrics["difference"]["box"]
    assert told["candidate"]["clicks_to"].keys() == {"0.85", "0.90"}
    assert told["served"] is None


def test_a_checkpoint_brings_the_map_of_its_scores_and_a_page_to_look_at(
    export: Path, tmp_path: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.measuring.calibration.LEAST_PREDICTIONS", 4)  # two images have no more objects
    out, images = tmp_path / "out", tmp_path / "images"
    manifest = train_export(export, images, out, settings=tiny_settings, epochs=2)
    assert manifest.metrics.calibration is not None
    metrics = manifest.metrics.to_json()
    assert set(manifest.files) == {WEIGHTS_FILE, REPORT_FILE, REVIEW_FILE, IMAGES_FILE}
    assert metrics["curves"]["held_out"][0]["step"] == 0
    assert 100 < metrics["memory_mib"] < 100_000  # PyTorch alone takes the former
    assert metrics["curves"]["training"][-1][0] == metrics["ended_at"]["steps"]
    page = (out / REPORT_FILE).read_text()
    for reason in manifest.verdict.reasons:
        assert html.escape(reason).replace("&#x27;", "&#39;") in page
    assert verify_weights(out) == out / WEIGHTS_FILE

    told = evaluate_export(export, images, checkpoint=out, champion=out, settings=tiny_settings, clicks=0).to_json()
    # What was said of the scores when it was made is what they are when it is served: calibrated.
    for name in ("predicted_iou", "calibrated", "score"):
        made = metrics["candidate"]["calibration"][name]
        assert told["candidate"]["calibration"][name]["ece"] == pytest.approx(made["ece"])
    assert told["difference_to_served"]["point"]["iou"] == [0.0, 0.0, 0.0]
    assert told["served"]["box"] == told["candidate"]["box"]


def test_an_image_that_went_away_after_the_training_leaves_its_place_in_the_page_empty(
    export: Path, tmp_path: Path, tiny_settings: Settings, png: Callable[[Image.Image], bytes]
) -> None:
    """One that has other bytes by now is no better: its outlines would lie on the wrong picture."""
    images, asked = tmp_path / "images", []

    def forget(phase: str, **_: object) -> None:
        if phase == "training" and not asked:
            asked.append(phase)
            for path in images.iterdir():
                path.write_bytes(png(Image.new("RGB", (64, 48))))

    train_export(export, images, tmp_path / "out", settings=tiny_settings, epochs=8, progress=forget)
    page = (tmp_path / "out" / REPORT_FILE).read_text()
    assert "data:image/png" not in page
    assert "could not be read again" in page


def test_what_was_trained_is_not_lost_where_its_place_is_taken_by_the_end(
    export: Path, tmp_path: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up meanwhile ends alike."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))

    def take(phase: str, **_: object) -> None:
        if phase == "publishing":
            out.mkdir()
            (out / "mine").write_text("")

    with pytest.raises(
        BadInput, match=r"nothing is ever overwritten.*: the whole checkpoint is in .*/samloop-checkpoint-"
    ):
        train_export(export, tmp_path / "images", out, settings=tiny_settings, epochs=1, progress=take)
    assert [path.name for path in out.iterdir()] == ["mine"]
    (rescued,) = elsewhere.iterdir()
    assert verify_weights(rescued) == rescued / WEIGHTS_FILE


def test_a_champion_alone_has_nothing_to_be_compared_with(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    with pytest.raises(BadInput, match="give --checkpoint DIR too"):
        evaluate_export(export, tmp_path / "images", champion=tmp_path, settings=tiny_settings)


def test_a_small_export_is_cross_validated_and_measuring_it_again_says_what_that_is_worth(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    export.write_text(json.dumps(json.loads(export.read_text())[:3]))
    out, images = tmp_path / "out", tmp_path / "images"
    manifest = train_export(export, images, out, settings=tiny_settings, epochs=1)
    assert (manifest.metrics.images, manifest.metrics.objects) == (3, 6)
    assert "cross-validated in 3 folds" in manifest.verdict.reasons[-1]
    told = evaluate_export(export, images, checkpoint=out, settings=tiny_settings, clicks=0)
    assert told.images == 3
    assert "has learnt from every one of these images" in (told.note or "")
    assert evaluate_export(export, images, settings=tiny_settings, clicks=0).note is None


def learnt(export: Path, folder: Path, *, settings: Settings) -> None:
    """Write a checkpoint that has learnt from all images of the export, without a training: the base's decoder."""
    context = TrainingContext.open(settings, config=config_of(settings), progress=silent)
    samples = read_samples(export, export.parent / "images", settings=settings, context=context)
    split = SplitMetrics(learnt=tuple(sample.image_sha256 for sample in samples))
    manifest = make_manifest(
        base_model=context.base.name,
        base_fingerprint=context.base.fingerprint,
        metrics=CheckpointMetrics(split=split),
    )
    write_checkpoint(folder, weights=decoder_bytes(decoder_of(context.base, None)), manifest=manifest)


def test_images_that_a_checkpoint_has_learnt_from_are_not_what_it_is_measured_on(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    all_tasks = json.loads(export.read_text())
    few = tmp_path / "few.json"
    few.write_text(json.dumps(all_tasks[:3]))
    learnt(few, tmp_path / "out", settings=tiny_settings)
    export.write_text(json.dumps(all_tasks[:6]))
    told = evaluate_export(export, tmp_path / "images", checkpoint=tmp_path / "out", settings=tiny_settings, clicks=0)
    assert (told.images, told.note) == (3, None)


def test_a_champion_is_compared_on_images_that_it_has_not_learnt_from(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    all_tasks, images = json.loads(export.read_text()), tmp_path / "images"
    few, folders = tmp_path / "few.json", (tmp_path / "two", tmp_path / "three")
    for count, folder in zip((2, 3), folders, strict=True):
        few.write_text(json.dumps(all_tasks[:count]))
        learnt(few, folder, settings=tiny_settings)
    export.write_text(json.dumps(all_tasks[:6]))

    def measured(checkpoint: Path, champion: Path) -> Json:
        return evaluate_export(
            export, images, checkpoint=checkpoint, champion=champion, settings=tiny_settings, clicks=0
        )

    two, three = folders
    told = measured(two, three)
    assert told.served is not None
    assert (told.images, told.served.with_prompt("box").n) == (4, 8)
    assert told.note == "compared with the champion on the 3 images that it has not learnt from"
    export.write_text(json.dumps(all_tasks[:3]))
    told = measured(two, three)
    assert told.images == 1
    assert told.note == "the champion has learnt from the images of this comparison, which favours it"


def test_the_base_can_be_measured_alone(export: Path, tmp_path: Path, tiny_settings: Settings) -> None:
    told = evaluate_export(export, tmp_path / "images", settings=tiny_settings, clicks=0)
    assert (told.candidate, told.difference) == (None, None)
    assert told.base is not None
    assert list(told.base.clicks) == [0]


def test_a_checkpoint_of_another_base_is_refused(export: Path, tmp_path: Path, tiny_settings: Settings) -> None:
    out = tmp_path / "out"
    learnt(export, out, settings=tiny_settings)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"base_fingerprint": "0" * 64}))
    with pytest.raises(BadCheckpoint, match="set SAMLOOP_MODEL to its base"):
        evaluate_export(export, tmp_path / "images", checkpoint=out, settings=tiny_settings)


def test_images_that_are_not_there_leave_nothing_to_learn(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(NothingToLearn, match=r"8 x its image cannot be used \(no file"):
        train_export(export, tmp_path / "none", tmp_path / "out", settings=tiny_settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is not JSON"),
        (b"{}", "holds dict, not a list of tasks"),
        (b"[]", "holds no task"),
        (b"PK\x03\x04\x14", "is a ZIP archive: unpack it"),
        (b"\x1f\x8b\x08\x00", "is a gzip archive: unpack it"),
    ],
)
def test_a_file_that_is_no_export_is_refused(
    content: bytes, told: str, tmp_path: Path, tiny_settings: Settings
) -> None:
    file = tmp_path / "export.json"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=told):
        train_export(file, tmp_path, tmp_path / "out", settings=tiny_settings)


def test_a_task_without_an_id_is_told_by_its_number_in_the_file(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    """Label Studio gives ids on import: what a converter wrote has none."""
    tasks = json.loads(export.read_text())[:3]
    for task in tasks:
        del task["id"]
    tasks[1]["annotations"] = []
    export.write_text(json.dumps(tasks))
    context = TrainingContext.open(tiny_settings, config=config_of(tiny_settings), progress=silent)
    samples = read_samples(export, tmp_path / "images", settings=tiny_settings, context=context)
    assert [sample.task_id for sample in samples] == ["#1", "#3"]
    (left_out,) = context.exclusions.by_reason()
    assert left_out.examples == ({"task": "#2"},)


def test_what_a_checkpoint_that_is_the_base_has_learnt_from_is_not_forgotten(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    """A project goes on from a checkpoint that was cross-validated on some of its images: all of that is told."""
    weights = tiny_settings.cache.dir / "weights"  # where a checkpoint's base is looked up by its name
    weights.mkdir(parents=True)
    (weights / Path(str(tiny_settings.sam.model)).name).symlink_to(str(tiny_settings.sam.model))
    all_tasks, images = json.loads(export.read_text()), tmp_path / "images"
    few = tmp_path / "few.json"
    few.write_text(json.dumps(all_tasks[:3]))
    first = train_export(few, images, tmp_path / "base", settings=tiny_settings, epochs=1)
    export.write_text(json.dumps(all_tasks[2:5]))
    settings = tiny_settings.replace(model=str(tmp_path / "base"))
    second = train_export(export, images, tmp_path / "out", settings=settings, epochs=1)
    assert first.metrics.split is not None
    assert second.metrics.split is not None
    learnt = set(second.metrics.split.learnt)
    assert learnt > set(first.metrics.split.learnt)
    assert len(learnt) == 5
    flattered = "the base has learnt from 1 of these images, which favours it and the candidate"
    assert flattered in second.verdict.reasons
    told = evaluate_export(export, images, checkpoint=tmp_path / "out", settings=settings, clicks=0)
    assert "has learnt from every one of these images" in (told.note or "")
    assert flattered not in first.verdict.reasons
