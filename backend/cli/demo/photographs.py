"""Twenty sample photographs with known masks, cut from two of scikit-image's own: `coins.png` and `brick.png`.

The masks come from a fixed recipe, not from a person; these two pictures are used because on them a recipe finds the
very edge: struck silver on dark cloth, and dark bricks in light mortar. No object is seen in two photographs, so none
can be learnt from one and tested on another.
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
# The pictures are small (384 x 303 and 512 x 512); enlarged, a crop fills the annotator's screen with smooth outlines.
_COIN_SCALE, _BRICK_SCALE = 4, 3
_COIN_ROWS, _COINS_A_ROW, _COINS_A_PHOTOGRAPH = 4, 6, 2
# (left, right) and (top, bottom) in brick.png's own pixels. The gaps are as wide and as long as a brick: one that lies
# across a gap is seen on one side of it only.
_BRICK_COLUMNS = ((0, 96), (138, 234), (270, 368), (414, 512))
_BRICK_ROWS = ((0, 184), (322, 512))
_BRICK_MORTAR_GREY = 135  # half way between brick (100) and mortar (170)
_SMALLEST_PIECE_PX = 1500  # of a brick cut by the photograph's edge, after enlarging; less is a sliver


def sample_photographs() -> tuple[SampleImage, ...]:
    """Twelve photographs of two coins and eight of bricks: four of coins first, then the two kinds in turn.

    Raises:
        Unavailable: scikit-image, which carries the pictures, is not installed.
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
            f"the demo's photographs come with scikit-image, which lacks {name} here: pip install 'samloop[demo]'"
        ) from fault
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def _enlarged(picture: np.ndarray, scale: int) -> Float[np.ndarray, "h w"]:
    """Cubic, pixel centres kept in place, so that a mask made from it lies on the enlarged photograph."""
    from scipy import ndimage

    enlarged: np.ndarray = ndimage.zoom(picture.astype(np.float64), scale, order=3, mode="nearest", grid_mode=True)
    return enlarged


def _coin_labels(picture: UInt8[np.ndarray, "h w"]) -> Int[np.ndarray, "H W"]:
    """Every coin numbered, on the enlarged picture.

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
    labels, _ = ndimage.label(_enlarged(ndimage.gaussian_filter(opened.astype(np.float64), 1), _COIN_SCALE) > 0.5)
    return np.asarray(labels)


def _coin_photographs() -> list[SampleImage]:
    """Neighbours of a row two by two; the cuts run half way between coins."""
    from scipy import ndimage

    picture = _picture("coins.png")
    labels = _coin_labels(picture)
    grey = _grey(_enlarged(picture, _COIN_SCALE))
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
    """Slices from 0 to `end`, one a span, that meet half way between neighbouring spans."""
    middles = [(left[1] + right[0]) // 2 for left, right in itertools.pairwise(spans)]
    return [slice(start, stop) for start, stop in zip([0, *middles], [*middles, end], strict=True)]


def _brick_photographs() -> list[SampleImage]:
    """Whole bricks, and what the photograph's edge leaves of others."""
    enlarged = _enlarged(_picture("brick.png"), _BRICK_SCALE)
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
    """Every brick numbered: what is darker than mortar, smoothed by half a pixel of the original.

    Where mortar is missing two bricks touch: they are told apart by a watershed of the distance to the mortar, from
    markers that lie 4 px of the original inside.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    dark = ndimage.gaussian_filter(enlarged, 0.5 * _BRICK_SCALE) <= _BRICK_MORTAR_GREY
    # Beyond the picture's edge a brick goes on: padded, so that the edge is not taken for mortar.
    depth = ndimage.distance_transform_edt(np.pad(dark, 1, mode="edge"))[1:-1, 1:-1]
    markers, _ = ndimage.label(depth > 4 * _BRICK_SCALE)
    return np.asarray(watershed(-depth, markers, mask=dark))


def _grey(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _photograph(grey: UInt8[np.ndarray, "h w"], labels: np.ndarray, *, label: str) -> SampleImage:
    masks = [labels == number for number in np.unique(labels) if number]
    file = io.BytesIO()
    # Stored, not deflated: the bytes, and so the digest that names it, do not hang on the version of zlib.
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
