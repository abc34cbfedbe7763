"""A backend is registered once, with a webhook that carries its credentials."""

from collections.abc import Iterator

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.ml_backend import ml_backend

from backend.labelstudio.api.client import LabelStudio


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as fake:
        yield fake


def test_connecting_twice_leaves_one_backend_and_one_webhook_with_credentials(studio: FakeLabelStudio) -> None:
    client = LabelStudio(studio.url, studio.token)
    project = int(client.create_project("x", "<View/>")["id"])
    with ml_backend() as (url, _):
        first = client.backends.connect(project, url=f"{url}/", title="samloop")
        again = client.backends.connect(project, url=url, title="samloop", basic_auth=("user", "pass"))
        assert first == again
        (known,) = client.backends.all(project)
        (webhook,) = client.backends.webhooks(project)
    assert known["url"].rstrip("/") == url
    assert webhook["url"] == f"{url}/webhook"
    assert webhook["headers"] == {"Authorization": "Basic dXNlcjpwYXNz"}
