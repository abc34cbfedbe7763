"""The pages that programs write: docs/results.md by benchmarks, README's summary of it, docs/settings.md by itself.

A program writes only between its own marks, `<!-- NAME: ... -->` and `<!-- /NAME -->`. Run as a program this module
writes the settings and the summary anew (`make docs`); the benchmarks write everything else.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.summary import summary

from backend.cli.machine import settings_markdown

ROOT = Path(__file__).resolve().parents[2]
README, RESULTS, SETTINGS = ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "settings.md"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def machine() -> str:
    """Processor, cores and memory, as the results state them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next((name for name in names if name not in {"", "unknown"}), platform.machine())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({name}), {gib:.0f} GiB, no GPU"


def commit() -> str:
    """The commit that is checked out, with a plus if the working tree differs from it beyond the written pages."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!README.md", ":!docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def write_result(name: str, text: str) -> None:
    """Put a benchmark's block into docs/results.md, and bring README's summary up to date.

    Raises:
        SystemExit: a page lacks the marks.
    """
    write_block(RESULTS, name, text)
    write_block(README, "summary", summary(RESULTS.read_text()))


def write_block(page: Path, name: str, text: str) -> None:
    """Replace what stands between the page's marks `<!-- NAME: ... -->` and `<!-- /NAME -->`.

    Raises:
        SystemExit: the page lacks the marks.
    """
    before, begin, rest = page.read_text().partition(f"<!-- {name}: ")
    head, close, body = rest.partition(" -->")
    _, end, after = body.partition(f"<!-- /{name} -->")
    if not (begin and close and end):
        raise SystemExit(
            f"{page.name} lacks the marks <!-- {name}: ... --> and <!-- /{name} -->: add them where the block belongs"
        )
    page.write_text(f"{before}{begin}{head}{close}\n{text}\n{end}{after}")


def main() -> None:
    """Write the settings, and README's summary of the results that stand."""
    write_block(SETTINGS, "settings", settings_markdown().rstrip())
    write_block(README, "summary", summary(RESULTS.read_text()))


if __name__ == "__main__":
    main()
