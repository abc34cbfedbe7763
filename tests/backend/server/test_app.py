"""The whole server: its front door, its own pages, and what it answers while something cannot be reached."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.label_studio import FakeLabelStudio
from starlette.testclient import TestClient
from support.payloads import click_at, read_payload, write_request
from support.queue import connect_to_nobody
from support.waiting import wait_until

from backend.sam.layers.arithmetic import choose_dtype
from backend.server.app import create_app
from backend.settings import Settings
from backend.work.connection import connect


def test_metrics_are_in_prometheus_format(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert re.search(r"^samloop_predict_seconds_count \d", text, re.MULTILINE)
    assert re.search(r"^samloop_embeddings_computed_total \d", text, re.MULTILINE)


def test_the_front_door_leads_a_browser_to_the_projects_and_tells_a_probe_the_health(client: TestClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = client.get("/", headers=browser, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    assert client.get("/", headers=browser).headers["content-type"].startswith("text/html")
    assert client.get("/", headers={"Accept": "*/*"}).json() == client.get("/health").json()


@pytest.mark.parametrize(("method", "path"), [("GET", "/reviews"), ("POST", "/health"), ("GET", "/predict")])
def test_what_no_route_takes_is_answered_with_where_to_look(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith(f"samloop answers no {method} {path}: pages for people begin at /review")


def test_the_page_of_the_endpoints_takes_nothing_from_another_host(client: TestClient) -> None:
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(asset.endswith("swagger-ui-bundle.js") for asset in loaded)
    for asset in loaded:
        assert asset.startswith("/"), asset
        assert client.get(asset).status_code == 200, asset
    examples = client.get("/openapi.json").json()["components"]["schemas"]["PredictBody"]["examples"]
    assert examples[0]["tasks"], "a request to try"


def test_the_page_of_the_endpoints_says_in_a_sentence_what_every_endpoint_does(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    shown = {operation["summary"]: operation["tags"] for methods in paths.values() for operation in methods.values()}
    assert all(summary.endswith(".") and " " in summary for summary in shown), shown
    assert {tag for tags in shown.values() for tag in tags} == {"Label Studio", "Projects"}


def test_health_and_setup_answer_while_the_model_loads(
    tiny_sam_dir: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.serving import engine

    may_load = threading.Event()
    real = engine.load_base
    monkeypatch.setattr(engine, "load_base", lambda *args, **kwargs: may_load.wait(120) and real(*args, **kwargs))
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    with TestClient(create_app(settings, connection=connect(redis_url)), base_url="http://localhost") as client:
        assert client.get("/health").json()["model"] == "loading"
        assert client.get("/health").json()["arithmetic"] is None
        promised = client.post("/setup", json={"project": "1.1"}).json()["model_version"]
        dtype = choose_dtype(settings.sam.dtype, torch.device("cpu"))
        may_load.set()
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        assert client.get("/health").json()["arithmetic"] == str(dtype).removeprefix("torch.")
        assert client.post("/setup", json={"project": "1.1"}).json()["model_version"] == promised


def test_with_redis_away_a_training_is_refused_and_clicks_go_on(tiny_sam_dir: Path, tmp_path: Path) -> None:
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    away = connect_to_nobody(tmp_path)
    with TestClient(
        create_app(settings, connection=away), raise_server_exceptions=False, base_url="http://localhost"
    ) as client:
        answer = client.post("/webhook", json=read_payload("40-webhook-START_TRAINING.json"))
        assert answer.status_code == 503
        assert "nothing was queued" in answer.json()["error"]
        assert client.get("/health").status_code == 200


def test_a_key_that_label_studio_refuses_is_not_told_as_the_callers_own(
    tiny_sam_dir: Path, redis_url: str, shared_studio: FakeLabelStudio, project: dict[str, Any], tmp_path: Path
) -> None:
    """Label Studio tells of a 401 that the backend's user and password are wrong, and those are right."""
    settings = Settings(
        model=str(tiny_sam_dir),
        model_dir=tmp_path / "models",
        cache_dir=tmp_path / "cache",
        label_studio_url=shared_studio.url,
        label_studio_api_key="0" * 40,
    )
    app = create_app(settings, connection=connect(redis_url))
    with TestClient(app, raise_server_exceptions=False, base_url="http://localhost") as client:
        answer = client.post("/predict", json=write_request(project, project["tasks"][0], click_at(50, 50)))
    assert answer.status_code == 424
    assert "WWW-Authenticate" not in answer.headers
    assert "LABEL_STUDIO_API_KEY" in answer.json()["error"]
