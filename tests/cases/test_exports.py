"""Exports of public bug reports, rebuilt small: what a training reads of every one."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from backend.errors import BadInput
from backend.labelstudio.export_file import read_export
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.sample import Sample
from finetuner.offline import read_samples
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.report.data import DataReport

CASES = Path(__file__).resolve().parents[1] / "data" / "cases"


@dataclass(frozen=True)
class Read:
    """What a training sees of an export, and why it leaves out the rest."""

    samples: list[Sample]
    reasons: dict[str, int]
    examples: str

    @property
    def objects(self) -> list[int]:
        return [len(sample.objects) for sample in self.samples]

    @property
    def labels(self) -> Counter[str | None]:
        return Counter(item.label for sample in self.samples for item in sample.objects)


@pytest.fixture
def settings(tiny_sam_dir: Path, tmp_path: Path) -> Settings:
    return Settings(model=str(tiny_sam_dir), device="cpu", cache_dir=tmp_path, model_dir=tmp_path, head="promptable")


@pytest.fixture(autouse=True)
def _nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embeddings, "ensure", lambda *_, **__: None)


def read(
    case: str,
    settings: Settings,
    *,
    images: str = "images",
    export: str = "export.json",
    label_config: Path | None = None,
) -> Read:
    context = TrainingContext.open(settings, config=config_of(settings), progress=silent)
    samples = read_samples(
        CASES / case / export, CASES / case / images, label_config=label_config, settings=settings, context=context
    )
    reasons = {exclusion.reason: exclusion.count for exclusion in context.exclusions.by_reason()}
    return Read(samples, reasons, json.dumps([row.to_json() for row in context.exclusions.by_reason()]))


@pytest.mark.parametrize(
    ("case", "objects"),
    [
        ("a-picture-in-the-task", [3, 3]),
        ("faint-masks", [3, 3]),
        ("names-in-buckets", [3, 3, 3, 3, 3]),
        ("rotated-view", [3, 3]),
        ("same-name-two-folders", [1, 1, 2]),
    ],
)
def test_everything_in_the_export_is_learnt_from(case: str, objects: list[int], settings: Settings) -> None:
    found = read(case, settings)
    assert (sorted(found.objects), found.reasons) == (objects, {})
    assert len({sample.image_sha256 for sample in found.samples}) == len(objects)


def test_faint_masks_have_their_areas(settings: Settings) -> None:
    areas = [item.area_px for sample in read("faint-masks", settings).samples for item in sample.objects]
    assert median(areas) == pytest.approx(median(json.loads((CASES / "faint-masks/areas.json").read_text())), abs=1)


def test_a_mask_beside_the_image_is_not_taken_for_it(settings: Settings) -> None:
    found = read("a-mask-beside-the-image", settings)
    assert [str(sample.image_uri).rpartition("-")[2] for sample in found.samples] == ["a0.png", "a1.png", "a2.png"]
    assert found.reasons == {}


def test_json_min_is_told_with_what_to_do() -> None:
    with pytest.raises(BadInput, match="looks like JSON_MIN"):
        read_export(CASES / "a-picture-in-the-task" / "json-min.json")


@pytest.mark.nuclei
def test_all_nuclei_in_one_region_are_learnt_from_as_nuclei_and_by_a_setting_as_one(
    settings: Settings, nuclei_dir: Path
) -> None:
    found = read("one-region-for-all", settings, images=str(nuclei_dir / "images"))
    assert (len(found.samples), sum(found.objects), found.reasons) == (16, 139, {})
    whole = read("one-region-for-all", settings.replace(merged_regions="keep"), images=str(nuclei_dir / "images"))
    assert whole.objects == [1] * 16


def test_pictures_that_were_submitted_empty_are_background_for_a_semantic_head_alone(settings: Settings) -> None:
    found = read("nothing-on-it", settings.replace(head="semantic"))
    assert (len(found.samples), found.objects.count(0), found.reasons) == (15, 6, {})
    exclusions = Exclusions()
    report = DataReport.of(found.samples, exclusions)
    assert "6 of 15 images were submitted without a region: background for the semantic head" in report.table()
    empty = {sample.image_sha256 for sample in found.samples if not sample.objects}
    dataset = assemble(found.samples, share=0.2, exclusions=exclusions)
    assert {sample.image_sha256 for side in dataset.empty[0] for sample in side} == empty

    for other in (settings, settings.replace(head="semantic", unlabelled="unknown")):
        alone = read("nothing-on-it", other)
        assert (len(alone.samples), alone.reasons) == (9, {"an annotation without any region": 6})


def test_labels_beside_a_shape_are_its_labels(settings: Settings) -> None:
    assert read("labels-tag", settings).labels == {"Cell": 4, "Vessel": 2}


def test_pictures_that_were_resized_keep_their_polygons_and_one_that_was_turned_is_left_out(
    settings: Settings,
) -> None:
    found = read("resized-pictures", settings)
    assert found.objects == [3, 3]
    assert list(found.reasons) == ["it was drawn on 60x80 pixels, but the upright image has 160x120"]


def test_of_two_pictures_of_one_name_in_one_folder_neither_is_learnt_from(settings: Settings) -> None:
    found = read("same-name-two-folders", settings, images="flat")
    assert [sample.task_id for sample in found.samples] == [3]  # of another name
    assert found.reasons == {"its image cannot be used": 2}
    assert "its task is not known" in found.examples


def test_what_a_converter_wrote_without_ids_is_read(settings: Settings) -> None:
    found = read("tasks-without-ids", settings)
    assert (found.objects, found.reasons) == ([3, 3], {"a rectangle is a box, not a mask": 6})
    assert '"task": "#2"' in found.examples


def test_of_two_pictures_in_a_task_both_are_learnt_from_with_their_own_objects(settings: Settings) -> None:
    found = read("two-pictures-in-a-task", settings)
    assert (found.objects, found.reasons) == ([2, 2, 2, 2], {})
    assert [{item.label for item in sample.objects} for sample in found.samples] == [{"Left"}, {"Right"}] * 2
    areas: dict[str, list[int]] = {"Left": [], "Right": []}
    for sample in found.samples:
        for item in sample.objects:
            areas[str(item.label)].append(item.area_px)
    assert median(areas["Left"]) == pytest.approx(709, abs=5)
    assert median(areas["Right"]) == pytest.approx(314, abs=5)


@pytest.mark.parametrize("number", [int, float])  # other programs write 1 as 1.0
def test_pages_of_a_task_are_learnt_from_page_by_page(
    number: Callable[[bool], float], settings: Settings, tmp_path: Path
) -> None:
    tasks = json.loads((CASES / "two-pictures-in-a-task" / "export.json").read_text())
    for task in tasks:
        task["data"] = {"pages": [task["data"]["left"], task["data"]["right"]]}
        for region in task["annotations"][0]["result"]:
            region["item_index"] = number(region["to_name"] == "right")
            region["to_name"] = "pages_shown"
    export = tmp_path / "pages.json"
    export.write_text(json.dumps(tasks))
    found = read("two-pictures-in-a-task", settings, export=str(export))
    assert (found.objects, found.reasons) == ([2, 2, 2, 2], {})
    assert [{item.label for item in sample.objects} for sample in found.samples] == [{"Left"}, {"Right"}] * 2
    assert [str(sample.image_uri)[-6] for sample in found.samples] == ["l", "r"] * 2


def empty_what_may_be_null(tasks: Any) -> Any:
    """The tasks as databases write them whose columns are empty."""
    for task in tasks:
        task.update(dict.fromkeys(("drafts", "predictions", "meta", "updated_at", "comment_authors")))
        (annotation,) = task["annotations"]
        annotation.update(dict.fromkeys(("completed_by", "updated_at", "ground_truth", "was_cancelled", "lead_time")))
        for region in annotation["result"]:
            region.update(dict.fromkeys(("meta", "origin", "score", "item_index", "parentID", "image_rotation")))
            region.update(dict.fromkeys(("original_width", "original_height")))
    return tasks


@pytest.mark.parametrize(
    "written",
    [
        lambda tasks: json.dumps(tasks).encode("utf-16"),
        lambda tasks: b"\xef\xbb\xbf" + json.dumps(tasks).encode(),
        lambda tasks: "\r\n".join(json.dumps(task) for task in tasks).encode(),
        lambda tasks: json.dumps([{**task, "completions": task.pop("annotations")} for task in tasks]).encode(),
        lambda tasks: "".join(json.dumps(task, indent=2) for task in tasks).encode(),
        lambda tasks: json.dumps(tasks).replace('"original_width": 160', '"original_width": "160"').encode(),
        lambda tasks: json.dumps(empty_what_may_be_null(tasks)).encode(),
    ],
    ids=[
        "UTF-16",
        "a byte order mark",
        "a task a line",
        "tasks in a row",
        "completions, as before 1.0",
        "sizes as text",
        "nulls",
    ],
)
def test_an_export_as_other_programs_write_it_is_read(
    written: Callable[[Any], bytes], settings: Settings, tmp_path: Path
) -> None:
    export = tmp_path / "export.json"
    export.write_bytes(written(json.loads((CASES / "rotated-view" / "export.json").read_text())))
    found = read("rotated-view", settings, export=str(export))
    assert (found.objects, found.reasons) == ([3, 3], {})


def test_one_task_alone_is_an_export(settings: Settings, tmp_path: Path) -> None:
    export = tmp_path / "task.json"
    export.write_text(json.dumps(json.loads((CASES / "rotated-view" / "export.json").read_text())[0]))
    assert read("rotated-view", settings, export=str(export)).objects == [3]


def test_coco_is_told_with_what_to_do() -> None:
    with pytest.raises(BadInput, match=r"is COCO, not Label Studio's JSON: .* `label-studio-converter import coco`"):
        read_export(CASES / "tasks-without-ids" / "coco.json")


def test_where_the_data_does_not_tell_the_labelling_interface_does(settings: Settings, tmp_path: Path) -> None:
    (task, *_) = json.loads((CASES / "a-mask-beside-the-image" / "export.json").read_text())
    mask, picture = task["data"]["mask"], task["data"]["image"]
    task["data"] = {"first": mask, "second": picture}
    export, label_config = tmp_path / "export.json", tmp_path / "config.xml"
    export.write_text(json.dumps([task]))
    label_config.write_text(
        (CASES / "a-mask-beside-the-image" / "config.xml").read_text().replace('value="$image"', 'value="$second"')
    )
    guessed = read("a-mask-beside-the-image", settings, export=str(export))
    told = read("a-mask-beside-the-image", settings, export=str(export), label_config=label_config)
    assert [sample.image_uri for sample in (*guessed.samples, *told.samples)] == [mask, picture]
