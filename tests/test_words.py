"""Words and habits that the house has given up, and those that it still gives up: bounds that may only fall."""

import re
from pathlib import Path

import pytest
from support.sources import CONTAINERS, list_sources, name_in_house

# `each` as a pronoun or a variable: before punctuation or a word that cannot begin a noun. "Each pixel" is fine.
_NO_NOUN = (
    "is|are|was|were|has|have|had|with|without|in|at|by|on|a|an|the|as|to|from|for|that|which|of|and|or|but|if|not|may|"
    "must|can|could|would|will|does|do|than|when|where|once|only|alone|after|before|under|over|its|their"
)
_EACH = re.compile(rf"\beach\b(?=\s*(?:[^\sa-zA-Z0-9`*\"'\\{{]|$)|\s+(?:{_NO_NOUN})\b)", re.IGNORECASE)
_COMMENT_GOES_ON = re.compile(r"\n\s*#\s?")

_SLEEP = re.compile(r"\btime\.sleep\(")
_ANY_MAPPING = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
MOST_ANY_MAPPINGS = 15  # outside labelstudio; may only fall

# Tests that sleep: what they stand for takes time itself, or they still wait for it blindly. May only become shorter.
SLEEPING: dict[str, int] = {
    "tests/backend/files/test_watch.py": 2,
    "tests/backend/net/test_download.py": 3,
    "tests/backend/registry/test_local.py": 1,
    "tests/backend/sam/embeddings/test_files.py": 1,
    "tests/backend/work/test_embedded.py": 1,
    "tests/backend/work/test_queue.py": 1,
    "tests/fakes/server.py": 1,
    "tests/fakes/training.py": 2,
    "tests/finetuner/test_lease.py": 3,
    "tests/finetuner/test_worker.py": 1,
    "tests/finetuner/training/test_resume.py": 1,
    "tests/integration/bad_inputs/test_addresses.py": 1,
    "tests/integration/bad_inputs/test_surroundings.py": 1,
    "tests/integration/test_kill9.py": 3,
    "tests/integration/test_label_studio_ml.py": 1,
    "tests/support/waiting.py": 1,
}


# This file names what it counts.
OTHERS = [path for path in list_sources(*CONTAINERS, "tests") if path != Path(__file__).resolve()]


def room_of(path: Path) -> str:
    """The room that a file belongs to: `backend/masks`, `finetuner`, `tests/backend/masks`."""
    parts = Path(name_in_house(path)).parts
    depth = 3 if parts[0] == "tests" else 2
    return "/".join(parts[: min(depth, len(parts) - 1)])


def count_each(path: Path) -> int:
    """How often a file says `each` where a noun belongs."""
    return len(_EACH.findall(_COMMENT_GOES_ON.sub(" ", path.read_text())))


ROOMS = sorted({room_of(path) for path in OTHERS})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_names_the_noun_instead_of_saying_each(room: str) -> None:
    assert {
        name_in_house(path): count for path in OTHERS if room_of(path) == room and (count := count_each(path))
    } == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("for each in samples:", 1),
        ("[each.box for each in items]", 2),
        ("one list each.", 1),
        ("Each of them is a mask.", 1),
        ("The sum over each\n    # pixel of the mask.", 0),
        ("Each pixel stands beside each other pixel; each 2 px wide.", 0),
    ],
)
def test_each_counts_where_it_stands_for_a_noun(text: str, count: int) -> None:
    assert len(_EACH.findall(_COMMENT_GOES_ON.sub(" ", text))) == count


def test_mappings_to_anything_stay_at_the_edge() -> None:
    counts = {
        name_in_house(path): count
        for path in list_sources(*CONTAINERS)
        if "labelstudio" not in path.parts and (count := len(_ANY_MAPPING.findall(path.read_text())))
    }
    assert sum(counts.values()) <= MOST_ANY_MAPPINGS, counts


def test_no_more_tests_sleep_than_do() -> None:
    sleeping = {
        name_in_house(path): count
        for path in OTHERS
        if "tests" in path.parts
        and "benchmarks" not in path.parts
        and (count := len(re.findall(r"\btime\.sleep\(", path.read_text())))
    }
    assert sleeping == SLEEPING
