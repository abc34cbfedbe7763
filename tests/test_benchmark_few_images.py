"""The table on few images compares every number of images with the base and with all images of its set."""

from itertools import pairwise
from typing import Any

import numpy as np
from benchmarks.few_images import COUNTS, draw_images, table

from backend.masks.packed import PackedMask
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample


def _line(name: str, images: int, *, click: float, box: float) -> dict[str, Any]:
    rows = [
        [digest, prompt, iou, iou - 0.1]
        for digest in ("a", "b", "c")
        for prompt, iou in (("point", click), ("box", box))
    ]
    return {"set": name, "images": images, "decodes": 1000 * bool(images), "commit": "abc1234", "rows": rows}


def test_a_row_says_what_share_of_the_gain_of_all_images_its_images_bring() -> None:
    text = table(
        [
            _line("nuclei", 0, click=0.5, box=0.8),
            _line("nuclei", 40, click=0.7, box=0.9),
            _line("nuclei", 10, click=0.65, box=0.84),
            _line("nuclei", 2, click=0.45, box=0.81),
        ]
    )
    rows = text.splitlines()[2:6]
    assert rows[0] == "| nuclei | 0 |  | 0.500 |  | 0.400 | 0.800 |  | 0.700 |"
    assert rows[1].startswith("| nuclei | 2 | 1000 | 0.450 (-0.050 [-0.050, -0.050]) | none |")
    assert rows[2].startswith("| nuclei | 10 | 1000 | 0.650 (+0.150 [+0.150, +0.150]) | 75% |")
    assert "| 0.840 (+0.040 [+0.040, +0.040]) | 40% |" in rows[2]
    assert rows[3].count("100%") == 2


def test_a_set_whose_gain_may_be_chance_has_no_share_of_a_gain() -> None:
    base, few, everything = (_line("defects", images, click=0.5, box=0.8) for images in (0, 10, 29))
    everything["rows"][0][2] += 0.3
    everything["rows"][2][2] -= 0.2
    assert "%" not in table([base, few, everything])


def test_fewer_images_are_among_the_more() -> None:
    mask = LabelledMask(label=None, height_px=4, width_px=4, packed=PackedMask.of(np.ones((4, 4), bool)))
    samples = [Sample(image_sha256=f"{number:064x}", height_px=4, width_px=4, objects=(mask,)) for number in range(30)]
    drawn = [[sample.image_sha256 for sample in draw_images(samples, count)] for count in (*COUNTS, None)]
    assert [len(some) for some in drawn] == [*COUNTS, 30]
    for fewer, more in pairwise(drawn):
        assert more[: len(fewer)] == fewer
