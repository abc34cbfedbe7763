"""Every source file has its test at the mirrored place, or stands in a table with the reason."""

from pathlib import Path

import pytest
from support.sources import CONTAINERS, ROOT, list_sources, name_in_house

# Source -> where its behaviour is tested instead, and why there.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "backend/registry/numbered.py": (
        "tests/contracts/test_registry.py",
        "it is what registries have in common, and the contract asks every kind",
    ),
    "backend/__main__.py": (
        "tests/test_docs.py",
        "it assembles the commands, and the documents name every one of them",
    ),
    "backend/_wsgi.py": ("tests/integration/test_label_studio_ml.py", "it needs the harness's own environment"),
    "backend/labelstudio/payloads.py": (
        "tests/backend/serving/test_task_image.py",
        "it only names types; who passes them on reads them",
    ),
    "backend/server/label_studio_ml/flask_app.py": (
        "tests/integration/test_label_studio_ml.py",
        "it needs the harness's own environment",
    ),
    "backend/server/label_studio_ml/manager.py": (
        "tests/integration/test_label_studio_ml.py",
        "it needs the harness's own environment",
    ),
    "backend/server/label_studio_ml/model.py": (
        "tests/integration/test_label_studio_ml.py",
        "it needs the harness's own environment",
    ),
    "backend/sam/family.py": (
        "tests/backend/sam/families/test_contract.py",
        "it only says what a family keeps; every family passes the contract",
    ),
    "finetuner/__main__.py": ("tests/finetuner/training/test_processes.py", "several processes start it"),
}


def find_mirrors(source: Path) -> list[Path]:
    """The tests of a source: `backend/masks/fit.py` has `tests/backend/masks/test_fit.py` or `test_fit_*.py`."""
    folder = ROOT / "tests" / source.relative_to(ROOT).parent
    name = source.stem.strip("_")
    return [*folder.glob(f"test_{name}.py"), *folder.glob(f"test_{name}_*.py")]


@pytest.mark.parametrize(
    "source", [path for path in list_sources(*CONTAINERS) if path.name != "__init__.py"], ids=name_in_house
)
def test_a_source_has_its_mirrored_test(source: Path) -> None:
    has_mirror = bool(find_mirrors(source))
    is_excused = name_in_house(source) in ELSEWHERE
    assert has_mirror or is_excused, f"write tests/{Path(name_in_house(source)).parent}/test_{source.name}"
    assert not (has_mirror and is_excused), f"{name_in_house(source)} has its test now: strike it off the table"


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_a_source_in_the_table_exists(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize(("place", "reason"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_place_where_a_source_is_tested_instead_exists(place: str, reason: str) -> None:
    assert (ROOT / place).is_file()
    assert reason
