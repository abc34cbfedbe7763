"""Twenty sample photographs with known masks, cut from two of scikit-image's own: `coins.png` and `brick.png`.

The masks come from a fixed recipe, not from a person. On these two images a recipe can trace the exact edge: silver
coins on dark cloth, and dark bricks in light mortar. No object appears in two photographs, so no object is in both the
training and the test.
"""

import io
import itertools
from dataclasses import replace
from importlib import resources

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from backend.cli.demo.samples import SampleImage, SampleObject, SampleSet
from backend.errors import Unavailable

COIN, BRICK = "Coin", "Brick"
# The sources are small (384 x 303 and 512 x 512). An enlarged crop fills the screen with smooth outlines.
_COIN_SCALE, _BRICK_SCALE = 4, 3
_COIN_ROWS, _COINS_A_ROW, _COINS_A_PHOTOGRAPH = 4, 6, 2
# (left, right) and (top, bottom) in brick.png's own pixels. The gaps are as wide and as long as a brick, so a brick
# across a gap shows on one side only.
_BRICK_COLUMNS = ((0, 96), (138, 234), (270, 368), (414, 512))
_BRICK_ROWS = ((0, 184), (322, 512))
_BRICK_MORTAR_GREY = 135  # half way between brick (100) and mortar (170)
_SMALLEST_PIECE_PX = 1500  # of a brick cut by the photograph's edge, after enlarging; less is a sliver


def sample_photographs() -> tuple[SampleImage, ...]:
    """Return twelve photographs of two coins and eight of bricks: four of coins first, then both kinds in turn.

    Raises:
        Unavailable: scikit-image, which contains the source images, is not installed.
    """
    coins, bricks = _coin_photographs(), _brick_photographs()
    more = len(coins) - len(bricks)
    in_turn = [photograph for pair in zip(coins[more:], bricks, strict=True) for photograph in pair]
    return (*coins[:more], *in_turn)


def _picture(name: str) -> UInt8[np.ndarray, "h w"]:
    try:
        data = (resources.files("skimage") / "data" / name).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as fault:
        raise Unavailable(
            f"the demo's photographs come with scikit-image, which lacks {name} here: pip install scikit-image"
        ) from fault
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def _enlarge(picture: np.ndarray, scale: int) -> Float[np.ndarray, "h w"]:
    """Enlarge by cubic splines with pixel centres in place, so that masks made from it fit the enlarged photograph."""
    from scipy import ndimage

    enlarged: np.ndarray = ndimage.zoom(picture.astype(np.float64), scale, order=3, mode="nearest", grid_mode=True)
    return enlarged


def _coin_labels(picture: UInt8[np.ndarray, "h w"]) -> Int[np.ndarray, "H W"]:
    """Number every coin on the enlarged image.

    Watershed of the Sobel gradient from sure background (grey < 30) and sure coin (grey > 150), as in scikit-image's
    gallery ("Comparing edge-based and region-based segmentation"); holes filled; what is narrower than 13 px (specks,
    a retoucher's marks under one coin) opened away; the outline rounded by a Gaussian of 1 px, enlarged at half height.
    """
    from scipy import ndimage
    from skimage.filters import sobel
    from skimage.morphology import disk
    from skimage.segmentation import watershed

    markers = np.zeros(picture.shape, dtype=np.int32)
    markers[picture < 30] = 1
    markers[picture > 150] = 2
    filled = ndimage.binary_fill_holes(watershed(sobel(picture), markers) == 2)
    opened = ndimage.binary_opening(filled, disk(6))
    labels, _ = ndimage.label(_enlarge(ndimage.gaussian_filter(opened.astype(np.float64), 1), _COIN_SCALE) > 0.5)
    return np.asarray(labels)


def _coin_photographs() -> list[SampleImage]:
    """Cut pairs of neighbours in a row; the cuts run half way between coins."""
    from scipy import ndimage

    picture = _picture("coins.png")
    labels = _coin_labels(picture)
    grey = _grey(_enlarge(picture, _COIN_SCALE))
    boxes = sorted(ndimage.find_objects(labels), key=lambda box: box[0].stop)
    rows = [boxes[start : start + _COINS_A_ROW] for start in range(0, _COIN_ROWS * _COINS_A_ROW, _COINS_A_ROW)]
    tops = _cuts([(min(b[0].start for b in row), max(b[0].stop for b in row)) for row in rows], end=grey.shape[0])
    photographs: list[SampleImage] = []
    for row, vertical in zip(rows, tops, strict=True):
        spans = sorted((box[1].start, box[1].stop) for box in row)
        groups = [spans[i : i + _COINS_A_PHOTOGRAPH] for i in range(0, len(spans), _COINS_A_PHOTOGRAPH)]
        photographs += [
            _photograph(grey[vertical, across], labels[vertical, across], label=COIN)
            for across in _cuts([(group[0][0], group[-1][1]) for group in groups], end=grey.shape[1])
        ]
    return [replace(photograph, name=f"coins-{number:02}.png") for number, photograph in enumerate(photographs, 1)]


def _cuts(spans: list[tuple[int, int]], *, end: int) -> list[slice]:
    """Return slices from 0 to `end`, one a span, that meet half way between neighbouring spans."""
    middles = [(left[1] + right[0]) // 2 for left, right in itertools.pairwise(spans)]
    return [slice(start, stop) for start, stop in zip([0, *middles], [*middles, end], strict=True)]


def _brick_photographs() -> list[SampleImage]:
    """Cut photographs of whole bricks, and of bricks that the edge cuts off."""
    enlarged = _enlarge(_picture("brick.png"), _BRICK_SCALE)
    labels = _brick_labels(enlarged)
    grey = _grey(enlarged)
    photographs = []
    for top, bottom in _BRICK_ROWS:
        for left, right in _BRICK_COLUMNS:
            window = np.s_[
                top * _BRICK_SCALE : bottom * _BRICK_SCALE,
                left * _BRICK_SCALE : right * _BRICK_SCALE,
            ]
            photographs.append(_photograph(grey[window], labels[window], label=BRICK))
    return [replace(photograph, name=f"bricks-{number:02}.png") for number, photograph in enumerate(photographs, 1)]


def _brick_labels(enlarged: Float[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Number every brick: regions darker than mortar, smoothed by half a pixel of the original.

    Where mortar is missing, two bricks touch. A watershed of the distance to the mortar separates them, from markers 4
    px of the original inside.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    dark = ndimage.gaussian_filter(enlarged, 0.5 * _BRICK_SCALE) <= _BRICK_MORTAR_GREY
    # A brick continues beyond the image's edge: pad, so that the edge does not count as mortar.
    depth = ndimage.distance_transform_edt(np.pad(dark, 1, mode="edge"))[1:-1, 1:-1]
    markers, _ = ndimage.label(depth > 4 * _BRICK_SCALE)
    return np.asarray(watershed(-depth, markers, mask=dark))


def _grey(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _photograph(grey: UInt8[np.ndarray, "h w"], labels: np.ndarray, *, label: str) -> SampleImage:
    masks = [labels == number for number in np.unique(labels) if number]
    file = io.BytesIO()
    # Stored, not deflated: so the bytes, and the digest that names them, do not depend on zlib's version.
    Image.fromarray(grey).save(file, "PNG", compress_level=0)
    return SampleImage(
        name="",
        png=file.getvalue(),
        width_px=grey.shape[1],
        height_px=grey.shape[0],
        objects=tuple(SampleObject(label, mask) for mask in masks if mask.sum() >= _SMALLEST_PIECE_PX),
    )


PHOTOGRAPHS = SampleSet(
    title="samloop: coins and bricks",
    label_colours={COIN: "#1f77ff", BRICK: "#ff7f0e"},
    object_noun="an object",
    read=sample_photographs,
)
