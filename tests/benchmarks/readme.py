"""README's blocks that benchmarks write, and what they say of where they were measured."""

import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def write_block(name: str, text: str) -> None:
    """Put the text between README's marks `<!-- NAME: ... -->` and `<!-- /NAME -->`.

    Raises:
        SystemExit: README has no such marks.
    """
    readme = README.read_text()
    before, begin, rest = readme.partition(f"<!-- {name}: ")
    head, close, body = rest.partition(" -->")
    _, end, after = body.partition(f"<!-- /{name} -->")
    if not (begin and close and end):
        raise SystemExit(f"README has no marks <!-- {name}: ... --> and <!-- /{name} -->")
    README.write_text(f"{before}{begin}{head}{close}\n{text}\n{end}{after}")
