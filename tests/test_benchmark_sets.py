"""Anyone can build the sets that the results are measured on."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.demo_nuclei import write_sample
from benchmarks.exports import demo, nuclei, nuclei_ids, write
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
