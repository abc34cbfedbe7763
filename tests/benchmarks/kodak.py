"""Writes the photographs that samloop compares a project's images with (finetuner/measuring/kodak), out of a clone.

`python tests/benchmarks/kodak.py CLONES`: the folder CLONES holds a clone of the repository below. The photographs are
written smaller: a kind of image can be told from its features at that size too.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sets import open_clone

from finetuner.measuring.everyday import KODAK, KODAK_NAMES

REPOSITORY = "MohamedBakrAli/Kodak-Lossless-True-Color-Image-Suite"
COMMIT = "dd2e1105fe8d9afe1120cd7e4c0e5e41f509a81b"
LONGER_SIDE_PX, QUALITY = 384, 80


def write_photographs(clones: Path, *, to: Path = KODAK) -> None:
    """Write the photographs in the size in which they ship.

    Raises:
        SystemExit: there is no clone with that commit.
    """
    clone = open_clone(clones, repository=REPOSITORY, commit=COMMIT)
    to.mkdir(exist_ok=True)
    for name in KODAK_NAMES:
        image = clone.image(f"PhotoCD_PCD0992/{Path(name).stem}.png")
        image.thumbnail((LONGER_SIDE_PX, LONGER_SIDE_PX))
        image.save(to / name, quality=QUALITY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, metavar="CLONES")
    write_photographs(parser.parse_args().clones)
