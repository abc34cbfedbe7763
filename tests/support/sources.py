"""The project's own files, for the tests that compare them with the documented structure."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ("backend", "finetuner")


def list_sources(*folders: str) -> list[Path]:
    """Return every Python file below these folders of the repository, in order."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def list_rooms() -> list[Path]:
    """Return every folder of the product that holds Python files, in order."""
    return sorted({path.parent for path in list_sources(*CONTAINERS)})


def list_modules(room: Path) -> set[str]:
    """Return the names of a room's own modules, `__init__` left out."""
    return {path.stem for path in room.glob("*.py")} - {"__init__"}


def list_inner_rooms(room: Path) -> set[str]:
    """Return the names of the rooms inside a room."""
    return {path.name for path in room.iterdir() if path.is_dir() and any(path.glob("*.py"))}


def name_in_house(path: Path) -> str:
    """Return the path from the repository's root, with forward slashes."""
    return path.relative_to(ROOT).as_posix()
