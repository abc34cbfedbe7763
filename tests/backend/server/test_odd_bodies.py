"""Whatever a body holds, a route answers a status that the schema shows, and never a bug."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.odd_values import Place, list_places, put
from support.payloads import click_at, write_request

ODD = [None, True, -1, 0, 1e308, 10**30, "", "x" * 5000, "<View>", "\u0000", [], {}, [[]], {"id": None}, [None]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


# beartype, which checks the server's arguments in its threads, draws from `random` while Hypothesis watches it.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
def test_no_body_meets_a_bug(client: TestClient, project: dict[str, Any]) -> None:
    annotation = {"id": 5, "task": project["tasks"][0]["id"], "updated_at": "2026-01-05T09:30:00Z", "result": []}
    bodies: dict[str, Any] = {
        "/predict": write_request(project, project["tasks"][0], click_at(50, 50)),
        "/setup": {"project": f"{project['id']}.1", "schema": "<View/>", "hostname": "http://x", "access_token": "t"},
        "/webhook": {"action": "ANNOTATION_CREATED", "project": {"id": project["id"]}, "annotation": annotation},
        "/train": {"project": project["id"]},
        "/job_status": {"job": "train-1-1"},
        "/versions": {"project": project["id"]},
    }
    schema = client.get("/openapi.json").json()["paths"]
    changes = [(path, place) for path, body in bodies.items() for place in list_places(body)]

    @settings(max_examples=80, deadline=None, database=None)
    @given(change=st.sampled_from(changes), odd=st.sampled_from(ODD) | JSON)
    def send(change: tuple[str, Place], odd: object) -> None:
        path, place = change
        answer = client.post(path, json=put(bodies[path], place, odd))
        assert answer.status_code != 500, f"{path} with {place}={str(odd)[:60]!r}: {answer.text[:200]}"
        assert str(answer.status_code) in schema[path]["post"]["responses"]

    @settings(max_examples=30, deadline=None, database=None)
    @given(path=st.sampled_from(sorted(bodies)), body=JSON)
    def send_anything(path: str, body: object) -> None:
        answer = client.post(path, json=body)
        assert answer.status_code != 500, answer.text[:200]
        assert str(answer.status_code) in schema[path]["post"]["responses"]

    send()
    send_anything()
