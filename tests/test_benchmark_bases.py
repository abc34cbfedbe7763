"""What docs/models.md states of the published bases is measured at their own sizes, and compares what it says."""

import re
from pathlib import Path

import pytest
import torch
from benchmarks.equality import compare
from benchmarks.real_sizes import REAL_SIZES
from benchmarks.summary import block
from transformers import SamModel

from backend.sam.families import list_families
from backend.sam.weights import PUBLISHED

MODELS_PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
NEEDS_TIMM = "edgetam"


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - {NEEDS_TIMM}))
def test_a_base_has_as_many_weights_as_its_table_states(name: str) -> None:
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in REAL_SIZES[name]().parameters())
    assert weights / 1e6 == pytest.approx(PUBLISHED[name].millions, abs=0.6)


def test_an_image_that_covers_a_part_of_the_canvas_differs_by_rounding_alone(
    tmp_path: Path, tiny_sam_dir: Path
) -> None:
    """Samloop computes no logits beyond the image, which transformers does."""
    _, found = compare(SamModel.from_pretrained(tiny_sam_dir).eval(), tmp_path / "sam")
    assert found.logits < 1e-4
    assert found.ious < 1e-4
    assert found.least_iou > 0.99


def test_one_size_of_every_family_is_measured_and_compared() -> None:
    measured, compared = (
        re.findall(r"^\| `(.+?)` \|", block(MODELS_PAGE.read_text(), name), re.MULTILINE)
        for name in ("families", "equality")
    )
    assert set(measured) | set(compared) <= REAL_SIZES.keys()
    assert min(len(measured), len(compared)) >= len(list_families())


def test_the_doctor_knows_the_memory_that_was_measured() -> None:
    rows = re.findall(
        r"^\| `(.+?)` \| ([\d,]+) MiB \| ([\d,]+) MiB \|", block(MODELS_PAGE.read_text(), "memory"), re.MULTILINE
    )
    measured = {name: tuple(int(mib.replace(",", "")) for mib in peaks) for name, *peaks in rows}
    assert measured == {name: published.peaks_mib for name, published in PUBLISHED.items()}
