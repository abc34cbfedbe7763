"""Every program stands in a file of its own, which an installed samloop has too."""

import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.scripts import Script, _read_source

ROOT = Path(__file__).resolve().parents[3]


def test_the_files_and_the_names_are_the_same() -> None:
    names = {path.name for path in (resources.files("backend.work") / "lua").iterdir()}
    assert names == {f"{script.value}.lua" for script in Script}


def test_redis_takes_every_program(tmp_path: Path) -> None:
    """SCRIPT LOAD compiles it."""
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        for script in Script:
            assert len(connection.script_load(_read_source(script.value))) == 40, script


def test_a_program_gets_its_keys_and_arguments(tmp_path: Path) -> None:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        token = Script.TAKE_LEASE.run(connection, keys=("lease", "fence"), args=("me", 60_000))
        assert (token, connection.get("lease")) == (1, b"1:me")
        assert Script.TAKE_LEASE.run(connection, keys=("lease", "fence"), args=("you", 60_000)) == 0
        Script.RELEASE_DEAD_LEASE.run(connection, keys=("lease",), args=("me",))
        assert connection.get("lease") is None


def test_the_wheel_holds_the_programs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("backend/work/lua/")}
    assert packed == {f"{script.value}.lua" for script in Script}
