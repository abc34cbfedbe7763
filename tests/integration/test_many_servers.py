"""Servers behind a proxy: Label Studio's /setup reaches one of them, and its clicks reach any."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clients import CONFIG, Clients, pictures, project
from starlette.testclient import TestClient
from support.queue import connect_to_nobody
from support.waiting import wait_until

from backend.server.app import create_app
from backend.settings import Settings

BROWSERS = "http://localhost:8080"  # what Label Studio calls itself unless its HOST is set


@contextmanager
def serve(folder: Path, *, model: Path, **settings: Any) -> Iterator[TestClient]:
    """A server with a cache of its own, on the common registry."""
    folder.mkdir()
    own = Settings(
        model=str(model), model_dir=folder.parent / "models", cache_dir=folder / "cache", device="cpu", **settings
    )
    app = create_app(own, connection=connect_to_nobody(folder))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as server:
        wait_until(lambda: server.get("/health").json()["model"] == "ready")
        yield server


def test_a_server_that_setup_did_not_reach_answers_clicks_as_the_one_that_it_reached(
    tiny_sam_dir: Path, tmp_path: Path
) -> None:
    """With the environment that docs/operation.md asks for, and whichever address tasks name.

    Fails without `SAMLOOP_LABEL_STUDIO_PUBLIC_URL` among the addresses that are Label Studio's.
    """
    with project(pictures(1)) as (studio, project_id, tasks):
        common = {
            "label_studio_url": studio.url,
            "label_studio_api_key": studio.token,
            "label_studio_public_url": BROWSERS,
        }
        by_path = Clients("", project_id=project_id, tasks=tasks).body((0, 0))
        by_url = copy.deepcopy(by_path)
        by_url["tasks"][0]["data"] = {name: f"{BROWSERS}{path}" for name, path in tasks[0]["data"].items()}
        setup = {"project": f"{project_id}.1", "schema": CONFIG, "hostname": BROWSERS, "access_token": "legacy"}
        with (
            serve(tmp_path / "reached", model=tiny_sam_dir, **common) as reached,
            serve(tmp_path / "other", model=tiny_sam_dir, **common) as other,
        ):
            assert reached.post("/setup", json=setup).status_code == 200
            answers = [server.post("/predict", json=body) for server in (reached, other) for body in (by_path, by_url)]
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    first, *others = (
        [region["value"]["rle"] for region in answer.json()["results"][0]["result"]] for answer in answers
    )
    assert first
    assert others == [first] * 3


def test_without_the_environment_a_server_that_setup_did_not_reach_names_what_it_lacks(
    tiny_sam_dir: Path, tmp_path: Path
) -> None:
    with project(pictures(1)) as (_, project_id, tasks), serve(tmp_path / "other", model=tiny_sam_dir) as other:
        answer = other.post("/predict", json=Clients("", project_id=project_id, tasks=tasks).body((0, 0)))
    assert answer.status_code == 400
    assert "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in answer.text
