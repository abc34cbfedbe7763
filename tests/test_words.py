"""Words and habits that the house has given up, and those that it still gives up: bounds that may only fall."""

import ast
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
_PATCHED_CONSTANT = re.compile(r"""setattr\((?:[\w.]+, ["']|["'][\w.]+\.)_[A-Z]""")
_ANY_MAPPING = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
MOST_ANY_MAPPINGS = 15  # outside labelstudio; may only fall

# Tests that sleep: what they stand for takes time itself, or they still wait for it blindly. May only become shorter.
SLEEPING: dict[str, int] = {
    "tests/backend/net/test_download.py": 1,
    "tests/backend/registry/test_local.py": 1,
    "tests/backend/sam/embeddings/test_files.py": 1,
    "tests/fakes/server.py": 1,
    "tests/fakes/training.py": 1,
    "tests/integration/bad_inputs/test_addresses.py": 1,
    "tests/integration/test_kill9.py": 1,
    "tests/support/waiting.py": 1,
}

# Tests that patch a private constant: how much is worked on at once, or how often a training saves and reports.
PATCHING: dict[str, int] = {
    "tests/backend/images/test_picture.py": 1,
    "tests/backend/masks/test_rasterize.py": 1,
    "tests/backend/sam/layers/test_fused_attention.py": 1,
    "tests/backend/sam/layers/test_int8_linear.py": 1,
    "tests/finetuner/semantic/test_semantic_resume.py": 2,
    "tests/finetuner/training/test_resume.py": 1,
    "tests/finetuner/training/test_resume_recipes.py": 2,
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
        if "tests" in path.parts and "benchmarks" not in path.parts and (count := len(_SLEEP.findall(path.read_text())))
    }
    assert sleeping == SLEEPING


def test_no_more_tests_patch_a_private_constant_than_do() -> None:
    patching = {
        name_in_house(path): count
        for path in OTHERS
        if "tests" in path.parts and (count := len(_PATCHED_CONSTANT.findall(path.read_text())))
    }
    assert patching == PATCHING


# A function is named by what it does (`split_touching`), not by what it leaves behind (`touching_split`, `kept`).
_PARTICIPLE = re.compile(
    r"_*(?!need|seed|feed|embed)"
    r"(?:[a-z]+ed|told|kept|found|sent|held|made|drawn|shown|given|bound|lost|seen|known|taken)(?:_|$)"
)


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a method is read like a value."""
    return any(ast.unparse(mark) in ("property", "cached_property") for mark in function.decorator_list)


def find_participles(source: str) -> list[str]:
    """The functions and methods whose names begin with a participle; properties may."""
    return [
        function.name
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and _PARTICIPLE.match(function.name)
        and not is_property(function)
    ]


def test_the_names_of_functions_begin_with_a_verb() -> None:
    bare = {
        name_in_house(path): names
        for path in list_sources(*CONTAINERS)
        if (names := find_participles(path.read_text()))
    }
    assert bare == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def told_plainly(): ...", ["told_plainly"]),
        ("def outer():\n    def kept(): ...", ["kept"]),
        ("async def _widened(): ...", ["_widened"]),
        ("def split_touching(): ...\ndef embed(): ...\ndef seed_all(): ...\ndef need_image(): ...", []),
        ("class Rules:\n    def outdated(self): ...", ["outdated"]),
        ("class Lane:\n    @property\n    def refused(self): ...", []),
    ],
)
def test_a_bare_participle_is_seen_in_a_functions_name(source: str, names: list[str]) -> None:
    assert find_participles(source) == names


# The glossary's word is "image". A map's entry (`picture      decodes a file's bytes`) names a module, and an entry
# with a colon names an attribute.
_PICTURE = re.compile(r"(?<![\w`./-])pictures?(?![\w`./(:-]| {2})", re.IGNORECASE)
# Here an image is what several files show: near-duplicates are different images of the same picture.
PICTURES = {"finetuner/data/split.py"}


def list_docstrings(source: str) -> list[str]:
    """The docstrings of a module, its classes and its functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def test_docstrings_say_image_and_not_picture() -> None:
    saying = {
        name_in_house(path)
        for path in list_sources(*CONTAINERS)
        if any(_PICTURE.search(text) for text in list_docstrings(path.read_text()))
    }
    assert saying == PICTURES


# "http(s)" is an address, no amount.
_EITHER_NUMBER = re.compile(r"(?<!http)\(s\)")


def test_no_message_leaves_it_open_whether_there_are_several() -> None:
    sources = [path for path in OTHERS if name_in_house(path).startswith(CONTAINERS)]
    pages = Path(__file__).resolve().parents[1].glob("backend/**/*.html")
    assert [name_in_house(path) for path in [*sources, *pages] if _EITHER_NUMBER.search(path.read_text())] == []
