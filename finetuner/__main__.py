"""`python -m finetuner EXPORT IMAGES OUT`: `samloop train --export` without the server.

On several GPUs: `accelerate launch --num_processes 2 -m finetuner EXPORT IMAGES OUT` (processes).
"""

import argparse
import json
from pathlib import Path

from backend.files.own_process import prepare_process
from backend.settings import Settings
from backend.settings.bounds import METHODS


def main() -> None:
    """Train on an export and print the verdict as JSON; `accelerate launch` starts it on several GPUs."""
    parser = argparse.ArgumentParser(prog="finetuner", description=main.__doc__)
    for name, text in (
        ("export", "Label Studio's JSON export"),
        ("images", "folder with the images"),
        ("out", "new folder for the checkpoint"),
    ):
        parser.add_argument(name, type=Path, help=text)
    parser.add_argument("--method", help=f"one of {', '.join(METHODS)} (default: SAMLOOP_METHOD)")
    parser.add_argument("--head", default="promptable", help="semantic: train a semantic head too")
    parser.add_argument("--epochs", type=int, help="the most epochs (default: as many as the limit on decodes allows)")
    parser.add_argument("--seconds", type=float, help="the most seconds (default: SAMLOOP_TRAIN_SECONDS)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    prepare_process()
    from finetuner.offline import train_export  # imports torch, which reads the environment once
    from finetuner.training.processes import Dismissed, Processes

    settings = Settings.from_env()
    processes = Processes.join(device=settings.sam.device)
    try:
        manifest = train_export(
            given.export,
            given.images,
            given.out,
            settings=settings,
            method=given.method,
            head=given.head,
            epochs=given.epochs,
            seconds=given.seconds,
            seed=given.seed,
            processes=processes,
        )
    except Dismissed:
        return
    print(json.dumps({"version": manifest.version, **manifest.verdict.to_json()}))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
