"""One rule for the ids in paths, whatever the page."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.http.path_ids import ProjectId
from backend.ids import LARGEST_PROJECT_ID


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()

    @app.get("/projects/{project_id}")
    def project(project_id: ProjectId) -> int:
        return project_id

    return TestClient(app)


@pytest.mark.parametrize("project_id", [1, LARGEST_PROJECT_ID])
def test_a_projects_number_in_a_path_is_read(client: TestClient, project_id: int) -> None:
    assert client.get(f"/projects/{project_id}").json() == project_id


@pytest.mark.parametrize("text", ["0", "-1", "07", "+1", "1.5", "1.1795418479", "x", f"{LARGEST_PROJECT_ID + 1}"])
def test_anything_else_in_a_path_is_refused_with_the_rule(client: TestClient, text: str) -> None:
    answer = client.get(f"/projects/{text}")
    assert answer.status_code == 422
    assert f"project is {text!r}, not a project's number, such as 1" in answer.text


def test_the_bounds_are_documented(client: TestClient) -> None:
    (parameter,) = client.get("/openapi.json").json()["paths"]["/projects/{project_id}"]["get"]["parameters"]
    assert (parameter["schema"]["minimum"], parameter["schema"]["maximum"]) == (1, LARGEST_PROJECT_ID)
