"""Every program stands in a file of its own, which an installed samloop has too."""

from importlib import resources
from pathlib import Path

from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.scripts import Script, _read_source


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
        token = Script.TAKE_LEASE.run(connection, keys=("lease", "fence", "holding"), args=("me", 60_000, 1))
        assert (token, connection.get("lease")) == (1, b"1:me")
        assert Script.TAKE_LEASE.run(connection, keys=("lease", "fence", "holding"), args=("you", 60_000, 1)) == 0
        Script.RELEASE_DEAD_LEASE.run(connection, keys=("lease", "holding"), args=("me",))
        assert connection.exists("lease", "holding") == 0
