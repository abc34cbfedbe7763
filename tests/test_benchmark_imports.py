"""Every benchmark starts: what it takes from the house is still there."""

import importlib
from pathlib import Path

import pytest

MODULES = sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_finds_all_that_it_imports(module: str) -> None:
    importlib.import_module(f"benchmarks.{module}")
