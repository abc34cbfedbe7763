"""Which images the base answers after a training: `python tests/benchmarks/unlike.py CLONES [--print]`.

Half of a set stands for a project, then the other half. Counted are the images of the other half, which the trained
decoder should answer, and the photographs of everyday things, which the base should answer. Nothing is trained: only
the base's features decide. The table goes into docs/results.md. Two minutes on two idle cores.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, say, write_result
from benchmarks.quality import exports, open_bench, samples_of

from backend.sam.predictor import base_predictor
from finetuner.context import TrainingContext
from finetuner.data.sample import Sample
from finetuner.measuring.domain import count_outside, with_outside

PHOTOGRAPHS = "photographs of everyday things (COCO)"


def count_both(
    samples: Sequence[Sample], photographs: Sequence[Sample], *, context: TrainingContext
) -> tuple[int, int]:
    """How many of the set's own images, and of the photographs twice over, fall outside of the other half."""
    plain, own, others = base_predictor(context.base), 0, 0
    for part in range(2):
        learnt, rest = samples[part::2], samples[1 - part :: 2]
        domain = with_outside(plain, learnt, plain=plain, embedding=context.embeddings, folder=context.generic_in)
        own += count_outside(domain, rest, embedding=context.embeddings)
        others += count_outside(domain, photographs, embedding=context.embeddings)
    return own, others


def draw(samples: Sequence[Sample]) -> list[Sample]:
    """Every image once, in an order that puts no kind of image into one half."""
    images = {sample.image_sha256: sample for sample in samples}
    return [images[digest] for digest in sorted(images)]


def row(name: str, *, images: int, photographs: int, counts: tuple[int, int]) -> str:
    """A line of the table."""
    own, others = counts
    return f"| {name} | {own} of {images} | {others} of {2 * photographs} |"


def main() -> None:
    """Count for every set that is at hand, and write the table into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, help="the folder with the clones that tests/benchmarks/sets.py names")
    parser.add_argument("--print", action="store_true", help="write nothing into docs/results.md")
    given, (context, settings), measured = parser.parse_args(), open_bench(), commit()
    lines = [
        "| half of a set | own images that the base answers | photographs that the base answers |",
        "| --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        sets = exports(Path(folder), given.clones)
        made = {name: draw(samples_of(make(), context=context, settings=settings)) for name, make in sets}
        photographs = made.pop(PHOTOGRAPHS)
        for name, samples in made.items():
            counts = count_both(samples, photographs, context=context)
            lines.append(row(name, images=len(samples), photographs=len(photographs), counts=counts))
            say(lines[-1])
    text = "\n".join([*lines, "", f"`mobile-sam`. On {machine()}; commit {measured}."])
    if not given.print:
        write_result("unlike", text)


if __name__ == "__main__":
    main()
