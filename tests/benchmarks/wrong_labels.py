"""Does the data page find wrong labels, and leave right ones alone?

python tests/benchmarks/wrong_labels.py CLONES

Coins and bricks need nothing; CLONES holds the clones of magnetic tiles and of COCO's photographs that sets.py names.
One object in ten gets another of its set's labels, three times over; the features come from `mobile-sam`'s encoder, and
no training is needed. Writes into docs/results.md how many planted labels are found, how often the page names the right
label for them, and how many right labels are doubted where none is wrong.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.exports import Picture, photographs, write
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.quality import open_bench, samples_of
from benchmarks.sets import EVERYDAY, TILES, draw_first, find_parts, open_clone, read_polygons

from backend.registry.review_file import LabelGuess
from backend.review.masks.suspicion import LEAST_LEAD
from finetuner.context import TrainingContext
from finetuner.data.sample import Sample
from finetuner.measuring.labels import guess_labels

_WRONG_SHARE, _ROUNDS = 0.1, 3
_OTHERS = (0.6, 0.7, 0.9)
_DEFECTS, _OF_A_DEFECT = ("Blowhole", "Break", "Crack", "Fray"), 25
# The categories of COCO with twenty objects or more that take a thousandth of their photograph.
_CATEGORIES = {0: "Person", 41: "Cup", 45: "Bowl", 56: "Chair", 73: "Book", 77: "Teddy bear"}
_LEAST_SHARE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Of one set: what the page doubts with a threshold."""

    right: int = 0
    doubted: int = 0
    planted: int = 0
    found: int = 0
    named: int = 0
    alarms: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})


def read_tiles(clones: Path) -> Iterator[Picture]:
    """Magnetic tiles, labelled by the kind of their defect."""
    clone = open_clone(clones, repository=TILES.repository, commit=TILES.commit)
    for kind in _DEFECTS:
        names = [name for name in clone.names if re.search(rf"MT_{kind}/.*\.jpg$", name)]
        for name in draw_first((name for name in names if f"{name[:-4]}.png" in clone.names), _OF_A_DEFECT):
            parts = find_parts(np.array(clone.image(f"{name[:-4]}.png", "L")) > 127, least_px=60)
            if parts:
                yield Picture(f"{Path(name).stem}.png", clone.image(name), tuple((kind, part) for part in parts))


def read_everyday(clones: Path) -> Iterator[Picture]:
    """COCO's photographs, with the objects of six categories."""
    clone = open_clone(clones, repository=EVERYDAY.repository, commit=EVERYDAY.commit)
    for stem, image, drawn in read_polygons(clone):
        objects = [
            (_CATEGORIES[category], mask)
            for category, mask in drawn
            if category in _CATEGORIES and mask.sum() >= _LEAST_SHARE * mask.size
        ]
        if objects:
            yield Picture(f"{stem}.png", image, tuple(objects))


def plant(samples: Sequence[Sample], *, rng: np.random.Generator) -> tuple[list[Sample], list[str | None]]:
    """Return the images with wrong labels, and for every object the right label where it has a wrong one, else None."""
    names = sorted({str(item.label) for sample in samples for item in sample.objects})
    right: list[str | None] = []
    planted = []
    for sample in samples:
        objects = []
        for item in sample.objects:
            is_wrong = rng.random() < _WRONG_SHARE
            others = [name for name in names if name != item.label]
            right.append(item.label if is_wrong else None)
            objects.append(replace(item, label=str(rng.choice(others))) if is_wrong else item)
        planted.append(replace(sample, objects=tuple(objects)))
    return planted, right


def guess_all(samples: Sequence[Sample], *, context: TrainingContext) -> tuple[LabelGuess | None, ...]:
    """Return what the review file would hold of these images."""
    return guess_labels(samples, beside=(), embedding=context.embeddings, frame=context.base.frame)


def count_doubts(
    guesses: Sequence[LabelGuess | None], right: Sequence[str | None], *, least: float, has_planted: bool
) -> Count:
    """Count the doubts of one round with a threshold."""
    doubted = [guess is not None and guess.lead >= least for guess in guesses]
    if not has_planted:
        return Count(right=len(guesses), doubted=sum(doubted))
    pairs = list(zip(guesses, right, doubted, strict=True))
    return Count(
        planted=sum(label is not None for label in right),
        found=sum(label is not None and is_doubted for _, label, is_doubted in pairs),
        named=sum(is_doubted and guess is not None and guess.label == label for guess, label, is_doubted in pairs),
        alarms=sum(label is None and is_doubted for _, label, is_doubted in pairs),
    )


def measure_set(samples: Sequence[Sample], *, context: TrainingContext) -> dict[float, Count]:
    """Return the counts of a set by threshold."""
    thresholds = (LEAST_LEAD, *_OTHERS)
    plain = guess_all(samples, context=context)
    counts = {least: count_doubts(plain, [], least=least, has_planted=False) for least in thresholds}
    for number in range(_ROUNDS):
        planted, right = plant(samples, rng=np.random.default_rng(number))
        guesses = guess_all(planted, context=context)
        for least in thresholds:
            counts[least] += count_doubts(guesses, right, least=least, has_planted=True)
    return counts


def write_row(name: str, labels: Counter[str], count: Count) -> str:
    """A line of the table."""
    doubts = count.found + count.alarms
    shares = (
        f"{count.doubted} of {count.right}",
        f"{100 * count.found / count.planted:.0f} %",
        f"{100 * count.found / doubts:.0f} %" if doubts else "none doubted",
        f"{count.named} of {count.found}",
    )
    return f"| {name} | {len(labels)}, {sum(labels.values())} | {' | '.join(shares)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    given = parser.parse_args()
    measured = commit()
    rows = ["| Set | labels, objects | right labels doubted | wrong labels found | precision | named rightly |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    others = []
    sets = {
        "coins and bricks (scikit-image)": photographs(),
        "defects of magnetic tiles": read_tiles(given.clones),
        "photographs of everyday things (COCO)": read_everyday(given.clones),
    }
    for number, (name, pictures) in enumerate(sets.items()):
        with tempfile.TemporaryDirectory() as folder:
            context, settings = open_bench()
            samples = samples_of(write(pictures, Path(folder) / str(number)), context=context, settings=settings)
            labels = Counter(str(item.label) for sample in samples for item in sample.objects)
            counts = measure_set(samples, context=context)
        rows.append(write_row(name, labels, counts[LEAST_LEAD]))
        others += [write_row(f"{name}, from {least}", labels, counts[least]) for least in _OTHERS]
        say(rows[-1])
    text = (
        f"The page doubts a label if another label is ahead by {LEAST_LEAD} of probability or more. "
        '"Right labels doubted" is measured on the labels as they are. The other columns are measured in '
        f"{_ROUNDS} rounds, in which one label in ten is replaced by a wrong one.\n\n"
        + "\n".join(rows)
        + "\n\nOther thresholds:\n\n"
        + "\n".join([*rows[:2], *others])
        + f"\n\nThe threshold was chosen on these objects. `python tests/benchmarks/wrong_labels.py`, on {machine()}; "
        f"commit {measured}."
    )
    write_result("wrong-labels", text)


if __name__ == "__main__":
    main()
