"""Which of SAM's four masks should answer one click? `python tests/benchmarks/point_policy.py [--checkpoint DIR]`.

One click at each object's inmost point, on the nuclei (../shared/data/nuclei) and on the demo's photographs. Prints,
for each policy, the mean IoU and its difference to the single mask with a 95 % bootstrap interval over images. Two
minutes on two idle cores when the embeddings are cached.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from backend.demo.photographs import sample_photographs
from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor
from backend.settings import Settings
from finetuner.annotations import Exclusions, annotated_task
from finetuner.config import TrainConfig
from finetuner.dataset import Embeddings, Sample
from finetuner.objects import LabelledMask
from finetuner.offline import _tasks, image_path
from finetuner.progress import silent
from finetuner.prompting import farthest_inner_point
from finetuner.recipe import Workshop

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


def measured(samples: Sequence[Sample], *, predictor: Predictor, embeddings: Embeddings) -> Table:
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


def nuclei(base: BaseModel, embeddings: Embeddings) -> list[Sample]:
    shop = Workshop(base=base, embeddings=embeddings, config=TrainConfig(), exclusions=Exclusions(), progress=silent)
    tasks = [
        annotated_task(each, image_key="image", exclusions=shop.exclusions) for each in _tasks(NUCLEI / "export.json")
    ]
    return shop.samples(
        [each for each in tasks if each is not None],
        read=lambda task: image_path(NUCLEI / "images", task.image_uri).read_bytes(),
        max_pixels=10**6,
    )


def photographs(embeddings: Embeddings) -> list[Sample]:
    samples = []
    for each in sample_photographs():
        sha256 = hashlib.sha256(each.png).hexdigest()
        embeddings.ensure(sha256, each.png, max_pixels=10**7)
        objects = tuple(LabelledMask.of(item.mask, label=item.label) for item in each.objects)
        samples.append(Sample(image_sha256=sha256, height_px=each.height_px, width_px=each.width_px, objects=objects))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a folder that `samloop train --out` wrote; else the base")
    checkpoint = parser.parse_args().checkpoint
    settings = Settings.from_env()
    base = load_base(settings.model, cache_dir=settings.cache_dir, device=settings.device, dtype=settings.dtype)
    predictor = Predictor(base, decoder_of(base, checkpoint), version="measured")
    embeddings = Embeddings(base, folder=settings.cache_dir / "embeddings")
    show("nuclei", measured(nuclei(base, embeddings), predictor=predictor, embeddings=embeddings))
    show("coins and bricks", measured(photographs(embeddings), predictor=predictor, embeddings=embeddings))


if __name__ == "__main__":
    main()
