"""An address is looked at when the connection stands, before anything is sent."""

import pytest
import requests
from fakes.label_studio import FakeLabelStudio

from backend.errors import ForbiddenUrl
from backend.net.checked_peers import CheckedPeers


def test_nothing_is_sent_to_an_address_that_is_refused() -> None:
    seen = []

    def check(address: str) -> None:
        seen.append(address)
        if len(seen) > 1:
            raise ForbiddenUrl("not there")

    with FakeLabelStudio() as fake:
        with requests.Session() as session:
            session.mount("http://", CheckedPeers(check))
            assert session.get(f"{fake.url}/api/current-user/whoami").status_code
            session.close()  # the next request needs another connection
            count = len(fake.requests)
            with pytest.raises(ForbiddenUrl):
                session.get(f"{fake.url}/api/current-user/whoami")
        assert (seen, len(fake.requests)) == (["127.0.0.1", "127.0.0.1"], count)
