"""Reads the links, headings and commands of README and of the pages under docs/."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = (README, *sorted(DOCS.glob("*.md")))


def links_of(page: Path) -> list[str]:
    """Every link and image address that stays within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", page.read_text())
    return [link for pair in found for link in pair if link and "://" not in link]


def slugs_of(page: Path) -> set[str]:
    """The fragments by which GitHub links the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks_of(page: Path, language: str) -> list[str]:
    """The text of every fenced block in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of every command in the page's shell blocks, without comments and `.venv/bin/`."""
    for block in blocks_of(page, "sh"):
        for command in split_commands(block):
            yield [command[0].removeprefix(".venv/bin/"), *command[1:]]


def split_commands(block: str) -> Iterator[list[str]]:
    """The words of every command in a shell block. A quoted text may hold newlines."""
    text = ""
    for line in block.splitlines():
        text += f"{line}\n"
        try:
            words = shlex.split(text, comments=True)
        except ValueError:  # a quotation is still open
            continue
        text = ""
        if words:
            yield words


def requests_of(page: Path) -> Iterator[tuple[list[str], Any]]:
    """Every curl command of the page with the JSON in the block after it; None without such a block."""
    for block, answer in re.findall(
        r"^```sh\n(curl .*?)^```$(?:\s+^```json\n(.*?)^```$)?", page.read_text(), re.MULTILINE | re.DOTALL
    ):
        (words,) = split_commands(block)
        yield words, json.loads(answer) if answer else None
