"""How well a semantic head finds four labels on drawn images (shapes) that it never saw; writes docs/results.md.

python tests/benchmarks/synthetic.py [--images 120] [--steps 400]    two minutes on two cores

mobile-sam, seed 0, the recipe of `samloop train --head semantic`. Steps end the training, not seconds, so that the
figures do not depend on how busy the machine is.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, say, write_result
from benchmarks.shapes import shapes

from backend.registry.metrics import SemanticReport
from backend.sam.loading import load_base
from backend.sam.predictor import encode
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.semantic.learning import SemanticTrainer
from finetuner.semantic.measuring import measure_semantic, semantic_report

IMAGES, STEPS = 120, 400
_HELD_OUT = 5  # the last of so many


def measured(images: int, *, steps: int) -> SemanticReport:
    """semantic_report of the last fifth of so many images, after so many steps on the others."""
    base = load_base("mobile-sam", cache_dir=Settings.from_env().cache.dir, device="cpu")
    samples, embeddings = [], {}
    for picture in shapes(images):
        objects = tuple(LabelledMask.of(mask, label=label) for label, mask in picture.objects)
        size = {"height_px": picture.image.height, "width_px": picture.image.width}
        samples.append(Sample(image_sha256=picture.name, objects=objects, **size))
        embeddings[picture.name] = encode(base, picture.image)
    learn = images - images // _HELD_OUT
    config = TrainConfig(head="semantic", seconds=1e6, epochs=steps, semantic_steps=steps)
    trainer = SemanticTrainer(
        base, samples[:learn], config=config, embedding=lambda sample: embeddings[sample.image_sha256]
    )
    for _ in trainer.steps():
        pass
    report = semantic_report(
        measure_semantic(
            trainer.head, samples[learn:], base=base, embedding=lambda sample: embeddings[sample.image_sha256]
        )
    )
    if report is None:
        raise SystemExit("none of the labels is on a held-out picture")
    return report


def synthetic(images: int = IMAGES, *, steps: int = STEPS) -> str:
    """The paragraph of docs/results.md."""
    began = time.process_time()
    report = measured(images, steps=steps)
    held_out = images // _HELD_OUT
    by_label = ", ".join(f"{label} {figures.iou:.3f}" for label, figures in report.labels.items())
    return (
        f"With four labels on textured ground (`tests/benchmarks/shapes.py`: {images - held_out} images to learn from, "
        f"{held_out} held out), the semantic head reaches a mean IoU of {report.mean.iou:.3f} ({by_label}) and a mean "
        f"Boundary IoU of {report.mean.boundary_iou:.3f} after {steps} steps. That takes "
        f"{time.process_time() - began:.0f} core-seconds in all."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    at = commit()  # now: the working tree may move on while this runs
    text = f"{synthetic(given.images, steps=given.steps)}\n\nOn {machine()}; commit {at}."
    say(text)
    write_result("synthetic", text)


if __name__ == "__main__":
    main()
