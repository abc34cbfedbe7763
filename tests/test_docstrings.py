"""The functions of the field say what goes in and what comes out, so that frame, range, unit and dtype have a place."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Modules whose arrays have frames, ranges and sources (DESIGN: a docstring is a contract).
OF_THE_FIELD = (
    "backend/masks/points.py",
    "backend/sam/automatic.py",
    "backend/sam/canvas.py",
    "backend/sam/decoder.py",
    "backend/sam/mask_prompt.py",
    "backend/sam/predictor.py",
    "backend/sam/prompts.py",
    "backend/sam/closer/refine.py",
    "backend/sam/closer/tiles.py",
    "backend/sam/enlarge.py",
    "backend/sam/policy.py",
    "backend/sam/predicted.py",
    "backend/sam/scoring.py",
    "finetuner/data/prompting.py",
    "finetuner/training/losses.py",
    "finetuner/training/rounds.py",
)
_REFERS = re.compile("As `")  # to another docstring, which says the rest


def list_public(tree: ast.Module) -> list[ast.FunctionDef]:
    """The public functions of a module, and the public methods of its public classes, without properties."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    return [
        function
        for owner in (tree, *classes)
        for function in owner.body
        if isinstance(function, ast.FunctionDef)
        and not function.name.startswith("_")
        and not any(ast.unparse(mark).endswith("property") for mark in function.decorator_list)
    ]


def find_gaps(source: str) -> list[str]:
    """What public functions leave unsaid: an argument, or what they return."""
    gaps = []
    for function in list_public(ast.parse(source)):
        text = ast.get_docstring(function) or ""
        if _REFERS.match(text):
            continue
        arguments = [given.arg for given in (*function.args.args, *function.args.kwonlyargs)]
        gaps += [
            f"{function.name}: {name}"
            for name in arguments
            if name not in {"self", "cls"} and not re.search(rf"^ +{name}: ", text, re.MULTILINE)
        ]
        if not re.search(r"^(Returns|Yields):", text, re.MULTILINE):
            gaps.append(f"{function.name}: Returns")
    return gaps


@pytest.mark.parametrize("module", OF_THE_FIELD)
def test_a_function_of_the_field_says_what_goes_in_and_what_comes_out(module: str) -> None:
    assert find_gaps((ROOT / module).read_text()) == []


@pytest.mark.parametrize(
    ("source", "gaps"),
    [
        (
            'def cut(mask):\n    """Cut.\n\n    Args:\n        mask: of the image.\n\n    Returns:\n        A mask."""',
            [],
        ),
        ('def cut(mask):\n    """Cut a mask."""', ["cut: mask", "cut: Returns"]),
        ('def cut(mask):\n    """As `cut_all`, for one mask."""', []),
        ('class Crop:\n    def cut(self, mask):\n        """Cut."""', ["cut: mask", "cut: Returns"]),
        ('class _Crop:\n    def cut(self, mask):\n        """Cut."""', []),
    ],
)
def test_a_gap_in_a_docstring_is_seen(source: str, gaps: list[str]) -> None:
    assert find_gaps(source) == gaps
