"""An unguarded backend is not opened to a network by accident."""

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
