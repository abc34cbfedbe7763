"""Anyone can build the sets that the results are measured on."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.demo_nuclei import write_sample
from benchmarks.exports import demo, nuclei, nuclei_ids, write
from benchmarks.recipes import SETS
from benchmarks.sets import SOURCES, Source, digest_of, draw_first, open_clone
from PIL import Image

from backend.cli.demo.nuclei import FOLDER, MASKS_FILE, sample_nuclei
from backend.labelstudio.rle import decode_mask


def _masks(task: dict) -> list[np.ndarray]:
    regions = [region for annotation in task["annotations"] for region in annotation["result"]]
    return [
        decode_mask(region["value"]["rle"], height_px=region["original_height"], width_px=region["original_width"])
        for region in regions
    ]


@pytest.mark.nuclei
def test_the_listed_ids_are_the_images_and_nuclei_that_are_measured(nuclei_dir: Path) -> None:
    tasks = json.loads((nuclei_dir / "export.json").read_bytes())
    counts = {Path(task["data"]["image"]).stem.split("-")[1]: len(_masks(task)) for task in tasks}
    assert {image[:12]: len(masks) for image, masks in nuclei_ids().items()} == counts
    assert all((nuclei_dir / "images" / f"{name}.png").is_file() for name in counts)


def test_forty_images_are_listed_with_their_full_ids() -> None:
    ids = nuclei_ids()
    assert (len(ids), sum(map(len, ids.values()))) == (40, 387)
    assert all(len(bytes.fromhex(image)) == 32 for image in ids)


def test_the_nuclei_are_written_from_the_folder_they_come_in(tmp_path: Path) -> None:
    drawn = {}
    for place, (image, masks) in enumerate(nuclei_ids().items()):
        folder = tmp_path / "stage1_train" / image
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        Image.new("RGBA", (20, 16), (place, 0, 0, 255)).save(folder / "images" / f"{image}.png")
        drawn[image[:12]] = []
        for column, mask in enumerate(masks):
            digits, dash, part = mask.partition("-")
            pixels = np.zeros((16, 20), np.uint8)
            pixels[2:5, column : column + 3] = 255
            Image.fromarray(pixels).save(folder / "masks" / f"{digits}{'0' * 52}{dash}{part}.png")
            drawn[image[:12]].append(pixels > 0)
        Image.new("L", (20, 16)).save(folder / "masks" / f"{'f' * 64}.png")  # a nucleus that is not in the set
    export = write(nuclei(tmp_path / "stage1_train"), tmp_path / "out")
    tasks = json.loads(export.read_bytes())
    assert [Path(task["data"]["image"]).stem for task in tasks] == [image[:12] for image in nuclei_ids()]
    for task in tasks:
        name = Path(task["data"]["image"]).name
        with Image.open(export.parent / "images" / name) as written:
            assert (written.mode, written.size) == ("RGB", (20, 16))
        np.testing.assert_array_equal(_masks(task), drawn[name.removesuffix(".png")])


def test_a_mask_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"0 files [0-9a-f]{12}\*\.png in .*: is this the mended stage1_train\?"):
        list(nuclei(tmp_path))


@pytest.mark.nuclei
def test_the_demo_ships_images_and_masks_of_the_set_bit_for_bit(nuclei_dir: Path, tmp_path: Path) -> None:
    write_sample(nuclei_dir, to=tmp_path / "sample")
    written = {path.name: path.read_bytes() for path in (tmp_path / "sample").iterdir()}
    shipped = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in {".png", MASKS_FILE.suffix}}
    assert written == shipped


def test_the_demos_nuclei_are_written_as_an_export_to_train_on(tmp_path: Path) -> None:
    tasks = json.loads(write(demo(), tmp_path).read_bytes())
    for task, image in zip(tasks, sample_nuclei(), strict=True):
        np.testing.assert_array_equal(_masks(task), [item.mask for item in image.objects])
        assert (tmp_path / "images" / image.name).is_file()


def _source(name: str) -> Source:
    return next(source for source in SOURCES if name in source.name)


def _commit_clone(clones: Path, source: Source, *, images: Sequence[str], notes: Mapping[str, object]) -> Source:
    """Commit grey images of 100 x 80 px and JSON files where the source's clone lies; return it at that commit."""
    folder = clones / source.repository.split("/")[1]
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80), (90, 90, 90)).save(folder / name)
    for name, content in notes.items():
        (folder / name).write_text(json.dumps(content))
    git = ("git", "-C", f"{folder}", "-c", "user.name=t", "-c", "user.email=t@example.com")
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "Images")):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    return replace(source, commit=commit)


def _read(source: Source, clones: Path) -> list[list[tuple[str, tuple[int, int, int, int]]]]:
    """Of every image, the labels and bounds (left, top, right, bottom in px, all inside) of its objects."""
    with pytest.raises(SystemExit, match=r"have the digest ([0-9a-f]{12})") as other:
        source.pictures(clones)
    digest = re.findall("digest ([0-9a-f]{12})", f"{other.value}")[0]
    pictures = replace(source, digest=digest).pictures(clones)
    assert digest_of(pictures) == digest
    bounds = []
    for picture in pictures:
        places = [(label, np.nonzero(mask)) for label, mask in picture.objects]
        bounds.append([(label, (min(xs), min(ys), max(xs), max(ys))) for label, (ys, xs) in places])
    return bounds


def test_panels_on_roofs_are_read_where_they_are_large_enough_to_be_outlined(tmp_path: Path) -> None:
    outlines = {1: [10, 10, 29, 10, 29, 19, 10, 19], 2: [5, 5, 6, 5, 6, 6, 5, 6]}  # 200 px, and 4 of 8000
    notes = {
        "images": [{"id": image, "file_name": f"{image}.png"} for image in (1, 2, 3)],
        "annotations": [
            {"image_id": image, "segmentation": [outlines[outline]]} for image, outline in ((1, 1), (1, 2), (2, 2))
        ],
    }
    images = [f"train/{image}.png" for image in (1, 2, 3)]
    source = _commit_clone(
        tmp_path, _source("solar panels"), images=images, notes={"train/_annotations.coco.json": notes}
    )
    assert _read(source, tmp_path) == [[("Panel", (10, 10, 29, 19))]]


def test_buildings_are_read_up_to_the_edge_of_the_image(tmp_path: Path) -> None:
    outlines = [[[80.0, 70.0], [120.5, 70.0], [120.5, 95.0], [80.0, 95.0]], [[0, 0], [2, 0], [2, 1], [0, 1]]]
    folder = "data_building/test"
    notes = {f"{folder}/DJI_1.json": {"shapes": [{"label": "building", "points": outline} for outline in outlines]}}
    source = _commit_clone(tmp_path, _source("drone"), images=[f"{folder}/DJI_1.jpg"], notes=notes)
    assert _read(source, tmp_path) == [[("Building", (80, 70, 99, 79))]]


def test_food_is_read_without_the_plate_that_it_lies_on(tmp_path: Path) -> None:
    def region(label: str, left: int, right: int) -> dict[str, object]:
        outline = {"name": "polygon", "all_points_x": [left, right, right, left], "all_points_y": [10, 10, 30, 30]}
        return {"shape_attributes": outline, "region_attributes": {"name": label}}

    notes = {
        "dataset/train/via_region_data.json": {
            "a": {"filename": "1.jpg", "regions": [region("piring", 0, 99), region("nasi", 20, 40)]},
            "b": {"filename": "2.jpg", "regions": [region("piring", 0, 99)]},
        },
        "dataset.stage2/train/via_region_data.json": {"a": {"filename": "1.jpg", "regions": [region("tahu", 50, 60)]}},
    }
    images = ["dataset/train/1.jpg", "dataset/train/2.jpg", "dataset.stage2/train/1.jpg"]
    source = _commit_clone(tmp_path, _source("food"), images=images, notes=notes)
    assert sorted(_read(source, tmp_path)) == [[("Food", (20, 10, 40, 30))], [("Food", (50, 10, 60, 30))]]


def test_the_lesions_that_a_training_is_measured_on_are_none_of_those_it_learns_from(tmp_path: Path) -> None:
    names = [f"dataset/benign/benign ({number}).png" for number in range(8)]
    learnt = replace(_source("breast lesions of BUSI"), images=3)
    _commit_clone(tmp_path, learnt, images=[name.replace(".png", "_mask.png") for name in names], notes={})
    again, drawn = draw_first(names)[3], np.random.default_rng(0).integers(0, 256, (8, 80, 100), dtype=np.uint8)
    for name, pixels in zip(draw_first(names), drawn, strict=True):
        Image.fromarray(drawn[0] // 2 + 40 if name == again else pixels).save(tmp_path / "Breast_Cancer" / name)
    learnt = _commit_clone(tmp_path, learnt, images=[], notes={})
    clone = open_clone(tmp_path, repository=learnt.repository, commit=learnt.commit)
    first, others = list(learnt.read(clone, 3)), list(learnt.read(clone, 39, after=3))
    assert (len(first), len(others)) == (3, 4)
    assert not {picture.name for picture in first} & {picture.name for picture in others}


def test_a_clone_that_is_missing_is_named_with_the_place_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no clone of github\.com/tarunmangla/rooftop-solar-pv: clone it to "):
        _source("solar panels").pictures(tmp_path)


def test_the_bench_has_images_of_six_kinds_with_their_origins_and_licences() -> None:
    names = " ".join(source.name for source in SOURCES)
    kinds = ("photographs", "medical", "microscopy", "aerial", "food", "industrial")
    assert [kind for kind in kinds if kind not in names] == []
    for source in SOURCES:
        assert re.fullmatch(r"[0-9a-f]{40} [0-9a-f]{12}", f"{source.commit} {source.digest}")
        assert source.licence
        assert 20 <= source.images <= 60


def test_recipes_are_measured_on_sets_that_exist() -> None:
    for words in SETS.values():
        for word in words:
            assert sum(source.name.startswith(word) for source in SOURCES) == 1
