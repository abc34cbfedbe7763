"""An unguarded backend is not opened to a network by accident, and a mistake is told before PyTorch loads."""

import os
import subprocess
import sys

import pytest

from backend.cli.serving import check_exposure
from backend.errors import SettingsError
from backend.settings import Settings

GUARDED = {"BASIC_AUTH_USER": "ada", "BASIC_AUTH_PASS": "secret"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "backend.example"])
def test_a_network_needs_credentials_or_a_word(host: str) -> None:
    with pytest.raises(SettingsError, match=f"--host {host} would let anybody .* or pass --insecure"):
        check_exposure(Settings.from_env({}), host=host, insecure=False)
    check_exposure(Settings.from_env(GUARDED), host=host, insecure=False)
    check_exposure(Settings.from_env({}), host=host, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    check_exposure(Settings.from_env({}), host=host, insecure=False)


# Runs the command, and ends with 3 where PyTorch has been loaded meanwhile.
PROGRAM = """
import sys
from backend.__main__ import main
sys.argv[1:] = {words!r}
try:
    main()
finally:
    if "torch" in sys.modules:
        raise SystemExit(3)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["serve"],
        ["train", "--export", "pyproject.toml", "--images", ".", "--out", "nowhere/new"],
        ["evaluate", "--export", "pyproject.toml", "--images", "."],
        ["predict", "--export", "pyproject.toml", "--images", ".", "--out", "nowhere.json"],
    ],
    ids=lambda words: words[0],
)
def test_a_setting_that_cannot_be_used_is_told_before_pytorch_takes_seconds_to_load(words: list[str]) -> None:
    environ = os.environ | {"SAMLOOP_TRAIN_SECONDS": "many"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(words=words)], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.stderr.startswith("samloop: SAMLOOP_TRAIN_SECONDS='many' is not a number"), ended.stderr
    assert ended.returncode == 1
