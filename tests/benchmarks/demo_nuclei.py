"""Writes the images that `samloop demo` ships (backend/cli/demo/bbbc038), from a set that exports.py wrote.

python tests/benchmarks/demo_nuclei.py NUCLEI    NUCLEI holds export.json and images/
"""

import argparse
import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.cli.demo.nuclei import FOLDER, MASKS_FILE

# Mostly stained tissue, where a training gains surely. The first four are held out; the last six wait for a hand.
NAMES = """
7798ca1ddb31.png 953211bcc019.png b0e35e06b85d.png abd8dde78f8d.png 0d3640c1f1b8.png 6ab24e7e1f6c.png
f7e5dcfc9c93.png 40946065f7e4.png a7f767ca9770.png 4ca5081854df.png 2255d5aba044.png af6b6173c594.png
371a67232f7c.png f20eb4592e7d.png 98c5ead89cd0.png d256b32adda3.png 30f65741053d.png e4537e7893e6.png
a08166d91d2c.png 673baf65ae5c.png 01d44a26f668.png 0e21d7b3eea8.png 136000dc18fa.png a5fe0b7412dd.png
"""


def write_sample(nuclei: Path, *, to: Path = FOLDER) -> None:
    """Copy the listed images, and write their masks into one file."""
    tasks = {_name(task): task for task in json.loads((nuclei / "export.json").read_bytes())}
    to.mkdir(exist_ok=True)
    for name in NAMES.split():
        shutil.copyfile(nuclei / "images" / name, to / name)
    listed = [_listed(name, tasks[name]) for name in NAMES.split()]
    (to / MASKS_FILE.name).write_text("[\n" + ",\n".join(json.dumps(image) for image in listed) + "\n]\n")


def _name(task: Mapping[str, Any]) -> str:
    return str(task["data"]["image"]).rpartition("/")[2].rpartition("-")[2]


def _listed(name: str, task: Mapping[str, Any]) -> dict[str, object]:
    regions = task["annotations"][0]["result"]
    return {
        "name": name,
        "width_px": regions[0]["original_width"],
        "height_px": regions[0]["original_height"],
        "masks": [base64.b64encode(bytes(region["value"]["rle"])).decode() for region in regions],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path, metavar="NUCLEI")
    write_sample(parser.parse_args().nuclei)


if __name__ == "__main__":
    main()
