"""Requests to the review pages, as a browser sends them."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fakes.label_studio import FakeLabelStudio
    from fakes.reviewed import Reviewed
    from starlette.testclient import TestClient

    from backend.registry.local import LocalRegistry

OURS = {"Origin": "http://127.0.0.1:9090"}  # what a browser sends from one of our own pages


def read_page(client: "TestClient", address: str) -> str:
    """The HTML at the address."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def list_keys(page: str) -> list[str]:
    """The keys of the masks on a page, in its order."""
    return re.findall(r'<li class="card" id="m-([0-9a-f]+)"', page)


def begin_project(studio: "FakeLabelStudio") -> int:
    """The id of a new, empty project."""
    from fakes.studio_setup import StudioSetup

    return int(StudioSetup(studio.url, studio.token).create_project("just begun", "<View/>")["id"])


def send_flag(client: "TestClient", here: str, **fields: str) -> Any:
    """The answer to a flag, before its redirect is followed."""
    return client.post(f"{here}/flags", data=fields, headers=OURS, follow_redirects=False)


def served_version(client: "TestClient", made: "Reviewed") -> str:
    """The version that serves the project now."""
    return str(client.get(f"/projects/{made.project_id}/status").json()["served"]["version"])


def last_decision(registry: "LocalRegistry", made: "Reviewed") -> int:
    """The number of the project's last decision; 0 before the first."""
    champion = registry.champion(made.project_id)
    return champion.number if champion else 0
