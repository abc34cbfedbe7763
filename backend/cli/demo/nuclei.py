"""Twenty-four microscopy images with the masks of up to ten nuclei, from BBBC038v1 (CC0; bbbc038/LICENCE.md).

Most show tissue stained purple, where the base model's mask for one click often includes a nucleus's neighbours; a
training of two minutes cures that. The images were chosen so that it does so reliably: on the four held-out images,
which a hash of their content selects, every prompt gains, whatever the seed and the arithmetic. docs/results.md has the
gains on other data.
"""

import base64
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from backend.cli.demo.samples import SampleImage, SampleObject, SampleSet
from backend.labelstudio.rle import decode_mask

LABEL = "Nucleus"
FOLDER = Path(__file__).with_name("bbbc038")
MASKS_FILE = FOLDER / "masks.json"


class _Listed(BaseModel, frozen=True, extra="forbid"):
    """An image and its masks: Label Studio's brush RLE in base64, in reading order of the objects."""

    name: str
    width_px: int
    height_px: int
    masks: list[str]


def sample_nuclei() -> tuple[SampleImage, ...]:
    """Return the images in the order of masks.json, which ends with those that are easy to label by hand."""
    listed = TypeAdapter(list[_Listed]).validate_json(MASKS_FILE.read_bytes())
    return tuple(_image(image) for image in listed)


def _image(listed: _Listed) -> SampleImage:
    masks = [
        decode_mask(list(base64.b64decode(code)), height_px=listed.height_px, width_px=listed.width_px)
        for code in listed.masks
    ]
    return SampleImage(
        name=listed.name,
        png=(FOLDER / listed.name).read_bytes(),
        width_px=listed.width_px,
        height_px=listed.height_px,
        objects=tuple(SampleObject(LABEL, mask) for mask in masks),
    )


NUCLEI = SampleSet(
    title="samloop: nuclei",
    label_colours={LABEL: "#1f77ff"},
    object_noun="a nucleus",
    read=sample_nuclei,
)
