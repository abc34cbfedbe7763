"""What the routes answer is what the schema says, status by status: every route is walked."""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from starlette.testclient import TestClient
from support.payloads import COINS, click_at, write_request
from support.queue import connect_to_nobody
from support.waiting import wait_until

from backend.server.app import create_app
from backend.settings import Settings

Route = tuple[str, str]
BUG = 500  # what nobody can provoke
JSON = {"Content-Type": "application/json"}
MISSING = 999_999  # a project that Label Studio does not have


@pytest.fixture(scope="module")
def settings(tiny_sam_dir: Path, shared_studio: FakeLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        model=str(tiny_sam_dir),
        model_dir=tmp_path_factory.mktemp("away") / "models",
        cache_dir=tmp_path_factory.mktemp("cache"),
        label_studio_url=shared_studio.url,
        label_studio_api_key=shared_studio.token,
    )


@pytest.fixture(scope="module")
def ending(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that is ending, and whose queue and registry are away."""
    nobody = connect_to_nobody(tmp_path_factory.mktemp("nobody"))
    app = create_app(settings, connection=nobody)
    with TestClient(app, raise_server_exceptions=False, base_url="http://localhost") as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        shutil.rmtree(settings.registry.model_dir)
        app.state.drain()
        yield client


def bodies_for(path: str, project: Mapping[str, Any]) -> list[object]:
    """Bodies for a path: one that is answered, and one for every reason to refuse it."""
    image = project["tasks"][0]
    lost = {**image, "data": {"image": "/data/upload/none.png"}}
    text = {**image, "data": {"image": "data:image/png;base64,aGVsbG8="}}
    elsewhere = {**image, "data": {"image": "http://127.0.0.1:9/a.png"}}
    absent = {**image, "data": {"image": "/data/local-files/?d=none.png"}}
    known: dict[str, list[object]] = {
        "/predict": [write_request(project, task, click_at(50, 50)) for task in (image, lost, text, elsewhere, absent)],
        "/setup": [{"project": f"{project['id']}.1", "schema": COINS}],
        "/webhook": [
            {"action": "PROJECT_UPDATED", "project": {"id": project["id"]}},
            {"action": "START_TRAINING", "project": {"id": project["id"]}},
            {"action": "START_TRAINING", "project": {"id": MISSING}},
        ],
        "/train": [{"project": project["id"]}, {"project": MISSING}],
        "/job_status": [{"job": f"train-{project['id']}-1"}, {"job": "train-1-999"}],
        "/versions": [{"project": project["id"]}],
    }
    return known.get(path, [None])


def walk(client: TestClient, route: Route, *, project: Mapping[str, Any]) -> Iterator[int]:
    """Send everything to a route, and tell the statuses."""
    method, path = route
    if method == "post":
        for body in bodies_for(path, project):
            url = path.replace("{project_id}", str(project["id"]))
            yield client.request(method, url, json=body).status_code
        yield client.request(method, path.replace("{project_id}", "0"), content=b"{", headers=JSON).status_code
    elif not path.endswith("/events") or client.app.state.routes.projects._is_ending:  # type: ignore[attr-defined]
        yield client.request(method, path.replace("{project_id}", str(project["id"]))).status_code
    url = path.replace("{project_id}", "0")
    yield client.request(method, url).status_code
    for headers in (
        {"Host": "evil.example"},
        {"Content-Length": str(1 << 40)},
        {"Content-Encoding": "gzip"},
    ):
        yield client.request(method, url, headers=headers).status_code


def test_every_route_answers_what_the_schema_says_and_the_schema_says_no_more(
    client: TestClient, ending: TestClient, settings: Settings, project: dict[str, Any]
) -> None:
    """The answers are a model, a page or a Problem; FastAPI's own answer to bad values is not in the schema."""
    nobody = connect_to_nobody(settings.cache.dir)
    guarded = TestClient(create_app(settings.replace(basic_auth_user="a", basic_auth_pass="b"), connection=nobody))
    loading = TestClient(create_app(settings, connection=nobody), base_url="http://localhost")
    shutil.rmtree(settings.registry.model_dir)
    schema = client.get("/openapi.json").json()
    answered: dict[Route, set[int]] = defaultdict(set)
    documented: dict[Route, set[int]] = {}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            route = (method, path)
            documented[route] = {int(status) for status in operation["responses"]} - {BUG}
            for server in (client, ending):
                answered[route].update(walk(server, route, project=project))
            answered[route].add(guarded.request(method, path.replace("{project_id}", "7")).status_code)
    answered["post", "/setup"].add(loading.post("/setup", json={"project": "7.1"}).status_code)
    corrupt = client.app.state.routes.projects._registry.root / "refs" / "77" / "champion"  # type: ignore[attr-defined]
    corrupt.mkdir(parents=True)
    (corrupt / "000000001.json").write_text("not ours")
    answered["get", "/projects/{project_id}/status"].add(client.get("/projects/77/status").status_code)
    answered["get", "/projects/{project_id}/events"].add(200)  # a stream that never ends: test_events
    differences = {
        route: {"only answered": answered[route] - statuses, "only documented": statuses - answered[route]}
        for route, statuses in documented.items()
        if answered[route] != statuses
    }
    assert differences == {}
    assert "HTTPValidationError" not in str(schema)


def test_every_refusal_has_the_form_that_the_schema_shows(client: TestClient) -> None:
    for answer in (client.post("/train", content=b"{", headers=JSON), client.get("/projects/0/status")):
        assert list(answer.json()) == ["error"]
        assert answer.status_code == 400
    schema = client.get("/openapi.json").json()
    for methods in schema["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
                    assert response["description"]
