"""`make results`: runs the commands that README names, and writes what they print between README's marks.

python tests/benchmarks/results.py ../shared/data/nuclei
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- results: written by `make results` -->", "<!-- /results -->"
METRICS = {
    "iou": "IoU",
    "boundary_iou": "Boundary IoU",
    "over_area": "over-area",
    "under_area": "under-area",
    "hd95_px": "HD95, px",
}


def run(*words: str) -> tuple[str, float]:
    """What `samloop words...` prints, and its wall time in seconds."""
    started = time.monotonic()
    program = Path(sys.executable).with_name("samloop")
    done = subprocess.run([program, *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout, time.monotonic() - started


def machine() -> str:
    """Processor, cores and memory, as README states them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next((name for name in names if name not in {"", "unknown"}), platform.machine())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({name}), {gib:.0f} GiB, no GPU"


def commit() -> str:
    """The commit that was measured, with a plus where the working tree differs from it in more than README."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def table(report: dict[str, Any]) -> str:
    """Base and candidate beside each other, a row a prompt and metric."""
    rows = ["| Prompt | Metric | mobile-sam | fine-tuned | difference [95 %] |", "| --- | --- | --- | --- | --- |"]
    for prompt, title in (("point", "one click"), ("box", "box")):
        for metric, name in METRICS.items():
            base, candidate = report["base"][prompt][metric], report["candidate"][prompt][metric]
            difference = report["difference"][prompt].get(metric)
            told = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference) if difference else ""
            rows.append(f"| {title} | {name} | {base:.3f} | {candidate:.3f} | {told} |")
    for clicks in ("1", "3", "7"):
        if clicks in report["base"]["clicks"]:
            base, candidate = report["base"]["clicks"][clicks], report["candidate"]["clicks"][clicks]
            rows.append(f"| + {clicks} corrections | IoU | {base:.3f} | {candidate:.3f} | |")
    return "\n".join(rows)


def main(nuclei: Path) -> None:
    """Train, evaluate, and write README's block."""
    export, images = str(nuclei / "export.json"), str(nuclei / "images")
    measured = commit()  # now: the working tree may move on while this runs
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "checkpoint")
        _, train_s = run("train", "--export", export, "--images", images, "--out", out, "--seed", "0")
        line, evaluate_s = run("evaluate", "--export", export, "--images", images, "--checkpoint", out, "--json")
    report = json.loads(line)
    text = f"""{BEGIN}
40 microscopy images with 387 annotated nuclei (BBBC038, Kaggle DSB 2018 stage 1, CC0), `mobile-sam`, seed 0;
measured on the {report["images"]} images ({report["objects"]} nuclei) held out by a hash of what they show.
Intervals: paired bootstrap over images.

{table(report)}

```sh
samloop train --export export.json --images images/ --out checkpoint/ --seed 0
samloop evaluate --export export.json --images images/ --checkpoint checkpoint/ --json
```

{train_s:.0f} s and {evaluate_s:.0f} s of wall time, encoding included, on {machine()}; commit {measured}.
`make results` runs both and writes this table.
{END}"""
    readme = README.read_text()
    before, _, rest = readme.partition(BEGIN)
    README.write_text(before + text + rest.partition(END)[2])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
