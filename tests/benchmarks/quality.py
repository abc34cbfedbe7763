"""How good masks are before any training, on sets of several kinds: `make quality CLONES=FOLDER`.

One click at every object's inmost point, and its true box, by `mobile-sam`. A row a set: the single mask and
segment-anything's own choice for the click, ours (backend/sam/policy.py) with its difference to the single mask and the
95 % bootstrap interval over images, and the best of both readings that a policy can choose between. CLONES holds the
clones that `sets` names; a set without a clone is left out, and said. Ten minutes on two idle cores.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.exports import photographs, write
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.sets import SOURCES

from backend.masks.metrics import boundary_iou, iou
from backend.masks.prompt import Prompt
from backend.sam.loading import decoder_of
from backend.sam.policy import LARGE, SINGLE, SMALL, ClickPolicy
from backend.sam.predictor import Predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.offline import read_samples
from finetuner.progress import silent

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei"
_HEAD = (
    "| set | images, objects | click, single mask | best of three by predicted IoU | click, ours | of both, the better"
    " | box | box, Boundary IoU |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True, slots=True)
class Table:
    """A row an object: its image, the IoUs of the four masks of one click, and what a policy sees of them.

    `small`: whether our policy takes the small reading. `box`: IoU and Boundary IoU of the box's mask.
    """

    image: np.ndarray
    iou: np.ndarray
    predicted: np.ndarray
    small: np.ndarray
    box: np.ndarray

    @property
    def ours(self) -> np.ndarray:
        """The IoU of the mask that our policy takes."""
        return np.where(self.small, self.iou[:, SMALL], self.iou[:, SINGLE])

    @property
    def best_of_three(self) -> np.ndarray:
        """The IoU of the reading whose predicted IoU is highest, as segment-anything's predictor is used."""
        return self.iou[np.arange(len(self.iou)), 1 + self.predicted[:, 1:].argmax(1)]


def open_bench() -> tuple[TrainingContext, Settings]:
    """The base model and its embeddings."""
    settings = Settings.from_env()
    return TrainingContext.open(settings, config=TrainConfig(), progress=silent), settings


def measure_set(samples: Sequence[Sample], *, context: TrainingContext) -> Table:
    """Measure a click and a box at every object."""
    predictor = Predictor(context.base, decoder_of(context.base, None), version="base")
    rows = []
    for sample in samples:
        embedding = context.embeddings(sample)
        grid = predictor.base.frame.grid_reached(embedding.height_px, embedding.width_px)
        clicks = [Prompt(clicks=(farthest_inner_point(item),)) for item in sample.objects]
        boxes = predictor.decode(embedding, [Prompt(box=item.bounds.box) for item in sample.objects])
        readings = predictor.candidates(embedding, clicks, which=lambda _: (0, 1, 2, 3))
        for item, four, box in zip(sample.objects, readings, boxes, strict=True):
            rows.append(
                (
                    sample.image_sha256,
                    [iou(predictor.mask_of(reading, embedding).mask, item.mask) for reading in four],
                    [reading.predicted_iou for reading in four],
                    *ClickPolicy.BY_CONTEXT.takes_small(
                        [(four[SINGLE], four[SMALL], four[LARGE])], rows=grid[0], columns=grid[1]
                    ),
                    [iou(box.mask, item.mask), boundary_iou(box.mask, item.mask)],
                )
            )
    return Table(*map(np.array, zip(*rows, strict=True)))


def interval(difference: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval over images of a mean over objects."""
    _, place = np.unique(image, return_inverse=True)
    total, count = np.bincount(place, difference), np.bincount(place)
    drawn = np.random.default_rng(0).integers(len(total), size=(2000, len(total)))
    low, high = np.percentile(total[drawn].sum(1) / count[drawn].sum(1), (2.5, 97.5))
    return float(low), float(high)


def row(name: str, table: Table) -> str:
    """A line of the table."""
    single, ours = table.iou[:, SINGLE], table.ours
    low, high = interval(ours - single, table.image)
    better = np.maximum(single, table.iou[:, SMALL])
    box, edge = table.box.mean(0)
    return (
        f"| {name} | {len(np.unique(table.image))}, {len(single)} | {single.mean():.3f} |"
        f" {table.best_of_three.mean():.3f} | {ours.mean():.3f} ({(ours - single).mean():+.3f} [{low:+.3f},"
        f" {high:+.3f}]) | {better.mean():.3f} | {box:.3f} | {edge:.3f} |"
    )


def samples_of(export: Path, *, context: TrainingContext, settings: Settings) -> Sequence[Sample]:
    """The annotated images of an export beside `images/`."""
    return read_samples(export, export.with_name("images"), settings=settings, context=context)


def base_by_policy(export: Path) -> Mapping[str, float]:
    """The base's mean IoU by one click on the held-out images, by the name of the policy."""
    context, settings = open_bench()
    samples = samples_of(export, context=context, settings=settings)
    held_out = assemble(samples, share=context.config.held_out_share, exclusions=context.exclusions).held_out
    table = measure_set(held_out, context=context)
    return {
        "the single mask": float(table.iou[:, SINGLE].mean()),
        "best of three by predicted IoU": float(table.best_of_three.mean()),
    }


def exports(folder: Path, clones: Path) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Every set's name, and what builds its export."""
    if NUCLEI.is_dir():
        yield "nuclei (microscopy, BBBC038)", lambda: NUCLEI / "export.json"
    yield "coins and bricks (scikit-image)", lambda: write(photographs(), folder / "photographs")
    for number, source in enumerate(SOURCES):
        yield source.name, lambda source=source, number=number: write(source.pictures(clones), folder / str(number))


def main() -> None:
    """Measure every set that is at hand, and write the table into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, help="the folder with the clones that tests/benchmarks/sets.py names")
    parser.add_argument("--images", type=int, help="most images of a set; the table is then printed alone")
    given = parser.parse_args()
    measured, lines = commit(), [_HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for name, build in exports(Path(folder), given.clones):
            try:
                export = build()
            except SystemExit as missing:
                say(f"{name} is left out: {missing}")
                continue
            context, settings = open_bench()
            samples = samples_of(export, context=context, settings=settings)[: given.images]
            lines.append(row(name, measure_set(samples, context=context)))
            say(lines[-1])
    text = "\n".join([*lines, "", f"`mobile-sam`, before any training. On {machine()}; commit {measured}."])
    if given.images is None:
        write_result("quality", text)


if __name__ == "__main__":
    main()
