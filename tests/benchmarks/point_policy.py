"""Which of SAM's four masks should answer one click? `python tests/benchmarks/point_policy.py [--checkpoint DIR]`.

One click at every object's inmost point, on the nuclei (../shared/data/nuclei) and on the demo's photographs. Prints a
line a policy: the mean IoU, and its difference to the single mask with a 95 % bootstrap interval over images. Two
minutes on two idle cores once the embeddings are cached; `--images 4` takes only four images of either set.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.exports import photographs, write

from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.loading import decoder_of
from backend.sam.predictor import Predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.data.embeddings import Embeddings
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.offline import _samples
from finetuner.progress import silent

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei"
Table = Mapping[str, np.ndarray]
Policy = Callable[[Table], np.ndarray]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def best_of_three(key: str) -> Policy:
    return lambda table: 1 + table[key][:, 1:].argmax(1)


def small_where(key: str, margin: float) -> Policy:
    return lambda table: (table[key][:, 1] > table[key][:, 0] + margin).astype(int)


POLICIES: dict[str, Policy] = {
    "the single mask": lambda table: np.zeros(len(table["score"]), int),
    "best of three by predicted IoU": best_of_three("predicted"),
    "best of three by IoU x stability": best_of_three("score"),
    "best of four by IoU x stability": lambda table: table["score"].argmax(1),
    "the small reading": lambda table: np.ones(len(table["score"]), int),
    "the small reading where it scores more": small_where("score", 0.0),
    "the same, by 0.1": small_where("score", 0.1),
    "the best of four, if one knew": lambda table: table["iou"].argmax(1),
}


def measure_policies(samples: Sequence[Sample], *, predictor: Predictor, embeddings: Embeddings) -> Table:
    rows: list[tuple[str, list[float], list[float], list[float]]] = []
    for sample in samples:
        embedding = embeddings(sample)
        clicks = [Prompt(clicks=(farthest_inner_point(item),)) for item in sample.objects]
        rivals = predictor.candidates(embedding, clicks, which=lambda _: (0, 1, 2, 3))
        for item, four in zip(sample.objects, rivals, strict=True):
            ious = [iou(predictor.mask_of(one, embedding).mask, item.mask) for one in four]
            rows.append((sample.image_sha256, ious, [one.predicted_iou for one in four], [one.score for one in four]))
    names, ious, predicted, scores = zip(*rows, strict=True)
    return {
        "image": np.array(names),
        "iou": np.array(ious),
        "predicted": np.array(predicted),
        "score": np.array(scores),
    }


def interval(difference: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    _, place = np.unique(image, return_inverse=True)
    total, count = np.bincount(place, difference), np.bincount(place)
    drawn = np.random.default_rng(0).integers(len(total), size=(2000, len(total)))
    low, high = np.percentile(total[drawn].sum(1) / count[drawn].sum(1), (2.5, 97.5))
    return float(low), float(high)


def show(name: str, table: Table) -> None:
    say(f"\n{name}, {len(table['image'])} objects\n| policy | IoU | to the single mask | 95 % |")
    say("| --- | --- | --- | --- |")
    every = np.arange(len(table["image"]))
    for policy, choose in POLICIES.items():
        chosen = table["iou"][every, choose(table)]
        difference = chosen - table["iou"][:, 0]
        low, high = interval(difference, table["image"])
        say(f"| {policy} | {chosen.mean():.3f} | {difference.mean():+.3f} | [{low:+.3f}, {high:+.3f}] |")


def samples_of(export: Path, *, context: TrainingContext, settings: Settings, held_out: bool) -> Sequence[Sample]:
    found = _samples(export, export.with_name("images"), settings=settings, context=context)
    if not held_out:
        return found
    return assemble(found, share=context.config.held_out_share, exclusions=context.exclusions).held_out


def base_by_policy(export: Path) -> Mapping[str, float]:
    """The base's mean IoU by one click on the held-out images, by the name of the policy."""
    settings = Settings.from_env()
    context = TrainingContext.open(settings, config=TrainConfig(), progress=silent)
    predictor = Predictor(context.base, decoder_of(context.base, None), version="base")
    samples = samples_of(export, context=context, settings=settings, held_out=True)
    table = measure_policies(samples, predictor=predictor, embeddings=context.embeddings)
    every = np.arange(len(table["image"]))
    return {name: float(table["iou"][every, choose(table)].mean()) for name, choose in POLICIES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a folder that `samloop train --out` wrote; else the base")
    parser.add_argument("--held-out", action="store_true", help="the images alone that a training holds out")
    parser.add_argument("--images", type=int, help="most images of either set")
    given = parser.parse_args()
    settings = Settings.from_env()
    context = TrainingContext.open(settings, config=TrainConfig(), progress=silent)
    predictor = Predictor(context.base, decoder_of(context.base, given.checkpoint), version="measured")
    with tempfile.TemporaryDirectory() as folder:
        sets = {"nuclei": NUCLEI / "export.json", "coins and bricks": write(photographs(), Path(folder))}
        for name, export in sets.items():
            samples = samples_of(export, context=context, settings=settings, held_out=given.held_out)[: given.images]
            show(name, measure_policies(samples, predictor=predictor, embeddings=context.embeddings))


if __name__ == "__main__":
    main()
