"""`python -m finetuner EXPORT IMAGES OUT`: `samloop train --export`, where only the fine-tuner is wanted."""

import argparse
import json
from pathlib import Path

from backend.processes import share_cores
from backend.settings import Settings


def main() -> None:
    """Train on an export; print the verdict as JSON."""
    parser = argparse.ArgumentParser(prog="finetuner", description=main.__doc__)
    for name, text in (("export", "Label Studio's JSON export"), ("images", "folder"), ("out", "checkpoint folder")):
        parser.add_argument(name, type=Path, help=text)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    share_cores()
    from finetuner.offline import train_export  # imports torch, which reads the environment once

    manifest = train_export(given.export, given.images, given.out, settings=Settings.from_env(), seed=given.seed)
    print(json.dumps({"version": manifest.version, **manifest.verdict}))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
