"""How small may an island or a hole be before it is a speck? `python tests/benchmarks/specks.py [--images 12]`.

A box and one click at every object of the nuclei (../shared/data/nuclei), and of the demo's photographs with
`--photographs`, by the base model. Prints for each `SAMLOOP_SPECKS_PX` the mean IoU and Boundary IoU, how many masks
change, and the lowest and highest change of the Boundary IoU's mean over images (95 % bootstrap interval).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.exports import photographs, write
from benchmarks.pages import say
from benchmarks.quality import NUCLEI, interval

from backend.labelstudio.export_file import read_export
from backend.masks.metrics import boundary_iou, iou
from backend.masks.prompt import Prompt
from backend.masks.specks import remove_specks
from backend.sam.loading import decoder_of
from backend.sam.predictor import Predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.offline import read_samples
from finetuner.progress import silent

SIZES_PX = (0, 16, 32, 64, 100, 200, 400)


def measure_kind(kind: str, samples: Sequence[Sample], *, context: TrainingContext) -> None:
    predictor = Predictor(context.base, decoder_of(context.base, None), version="base")
    rows = []
    for sample in samples:
        prompts = [
            Prompt(box=item.bounds.box) if kind == "box" else Prompt(clicks=(farthest_inner_point(item),))
            for item in sample.objects
        ]
        for item, prompt, shown in zip(
            sample.objects, prompts, predictor.decode(context.embeddings(sample), prompts), strict=True
        ):
            masks = [remove_specks(shown.mask, least_px=least_px, clicks=prompt.clicks) for least_px in SIZES_PX]
            figures = [
                (iou(mask, item.mask), boundary_iou(mask, item.mask), float(mask is not shown.mask)) for mask in masks
            ]
            rows.append((sample.image_sha256, figures))
    image, figures = np.array([name for name, _ in rows]), np.array([row for _, row in rows])
    for number, least_px in enumerate(SIZES_PX):
        one, edge, changed = figures[:, number].mean(0)
        low, high = interval(figures[:, number, 1] - figures[:, 0, 1], image)
        say(
            f"{kind:6} {least_px:4} px  IoU {one:.4f}  Boundary IoU {edge:.4f} [{low:+.4f}, {high:+.4f}]  {changed:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--photographs", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        export, images = NUCLEI / "export.json", NUCLEI / "images"
        if arguments.photographs:
            export = write(photographs(), Path(folder))
            images = export.with_name("images")
        some = Path(folder) / "some.json"
        some.write_text(json.dumps(read_export(export)[: arguments.images]))
        settings = Settings.from_env()
        context = TrainingContext.open(settings, config=TrainConfig(), progress=silent)
        samples = read_samples(some, images, settings=settings, context=context)
        for kind in ("box", "click"):
            measure_kind(kind, samples, context=context)


if __name__ == "__main__":
    main()
