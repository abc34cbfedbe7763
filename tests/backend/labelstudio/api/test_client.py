"""The client bears with a Label Studio that fails, and says plainly what is wrong. Its habits: tests/contracts."""

from types import SimpleNamespace
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.ml_backend import ml_backend
from fakes.studio_setup import StudioSetup

from backend.errors import BadInput, NotAuthorized, NotFound, RedirectedElsewhere, SamloopError, Upstream
from backend.labelstudio.api.client import LabelStudio


@pytest.fixture
def client(studio: FakeLabelStudio) -> LabelStudio:
    return StudioSetup(studio.url, studio.token)


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between tries, not slept."""
    taken: list[float] = []
    # Of the session alone: the fake server sleeps too, and has the same module `time`.
    monkeypatch.setattr("backend.labelstudio.api.session.time", SimpleNamespace(sleep=taken.append))
    return taken


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_reading_is_tried_again_with_growing_pauses(
    studio: FakeLabelStudio, client: LabelStudio, naps: list[float], status: int
) -> None:
    studio.fail("/api/current-user", status=status, times=3)
    assert client.whoami() == studio.user
    assert len(naps) == 3
    assert naps[0] < 0.26
    assert sum(naps) < 2


def test_reading_ends_with_the_reason(studio: FakeLabelStudio, client: LabelStudio) -> None:
    studio.fail("/api/current-user", status=503, body={"detail": "maintenance"}, times=99)
    with pytest.raises(Upstream, match="answered 503 to GET /api/current-user/whoami: maintenance"):
        client.whoami()
    assert len(studio.requests) == 4


def test_writing_is_never_tried_again(studio: FakeLabelStudio, client: LabelStudio, naps: list[float]) -> None:
    studio.fail("/api/projects/", status=502, times=99)
    with pytest.raises(Upstream, match="answered 502 to POST /api/projects/"):
        client.create_project("x", "<View/>")
    assert len(studio.requests) == 1
    assert naps == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "complaint"),
    [
        (401, {"detail": "Invalid token."}, NotAuthorized, "LABEL_STUDIO_API_KEY is not accepted"),
        (403, {"detail": "no"}, NotAuthorized, "answered 403"),
        (404, {"detail": "no"}, NotFound, "has no project 1, or this key may not see it"),
        (404, b"<html>", NotFound, "has no project 1, .*; it has none that this key sees"),
        (400, {"validation_errors": {"x": ["Bad <b>x</b>."]}}, BadInput, r"refused GET /api/projects/1/: x: Bad x\."),
        (500, b"<html>Traceback</html>", Upstream, r"answered 500 .*: \(something\)"),
        (200, b"<!doctype html><title>Log in</title>", Upstream, ", not JSON: is LABEL_STUDIO_URL a Label Studio"),
        (200, b'{"id": 1, "label_conf', Upstream, ", not JSON: is"),
        (200, [], Upstream, "answered list where an object was expected"),
        (200, b"", Upstream, "answered NoneType where an object was expected"),
        (302, None, Upstream, "redirects GET /api/projects/1/ elsewhere: set LABEL_STUDIO_URL"),
    ],
)
def test_every_failure_is_one_sentence(
    studio: FakeLabelStudio, *, client: LabelStudio, status: int, body: Any, kind: type[SamloopError], complaint: str
) -> None:
    studio.fail("/api/projects/1/", status=status, body=body, times=99, Location="http://127.0.0.1:9/")
    with pytest.raises(kind, match=complaint) as caught:
        client.project(1)
    assert "Traceback" not in str(caught.value)
    assert studio.token not in str(caught.value)


def test_half_a_page_is_read_again(studio: FakeLabelStudio, client: LabelStudio) -> None:
    project = client.create_project("x", "<View/>")["id"]
    client.import_tasks(project, [{"data": {}}] * 5)
    studio.fail("/api/tasks", status=200, body=b'{"tasks": [{"id": 1}, {"i', times=1)
    assert len(list(client.tasks(project, page_size=2))) == 5


def test_a_connection_that_breaks_off_is_an_upstream_error(studio: FakeLabelStudio, client: LabelStudio) -> None:
    studio.fail("/api/projects/1/", status=200, body=b'{"id": 1', times=99, **{"Content-Length": "500"})
    with pytest.raises(Upstream, match="did not answer GET /api/projects/1/"):
        StudioSetup(studio.url, studio.token, timeout_s=0.3).project(1)


def test_nobody_there_is_an_upstream_error_with_the_next_step() -> None:
    with pytest.raises(Upstream, match=r"http://127\.0\.0\.1:9 did not answer .*: is Label Studio up\?"):
        StudioSetup("http://127.0.0.1:9", "a" * 40).whoami()


def test_tasks_that_move_between_pages_are_not_given_twice(studio: FakeLabelStudio, client: LabelStudio) -> None:
    project = client.create_project("x", "<View/>")["id"]
    client.import_tasks(project, [{"data": {}}] * 4)
    found = []
    for task in client.tasks(project, page_size=2):
        if not found:
            client.import_tasks(project, [{"data": {}}])
        found.append(task["id"])
    assert found == [1, 2, 3, 4, 5]


def test_an_access_token_that_ended_early_is_renewed_and_the_request_repeated(studio: FakeLabelStudio) -> None:
    client = StudioSetup(studio.url, studio.personal_access_token())
    assert client.whoami() == studio.user
    studio.expire_access_tokens()
    assert client.whoami() == studio.user
    studio.expire_access_tokens()
    project = client.create_project("x", "<View/>")["id"]
    client.import_images(project, {"a.png": b"bytes"})
    (task,) = client.tasks(project)
    studio.expire_access_tokens()
    assert client.get_bytes(task["data"]["image"], max_bytes=9, deadline_s=5.0) == b"bytes"


def test_more_images_than_a_request_takes_are_sent_in_several(studio: FakeLabelStudio, client: LabelStudio) -> None:
    project = client.create_project("x", "<View/>")["id"]
    assert client.import_images(project, {f"{number}.png": b"x" for number in range(120)}) == 120
    assert sum(request.path.endswith("/import") for request in studio.requests) == 3


def test_a_redirect_to_another_host_is_told_and_the_key_stays(studio: FakeLabelStudio, client: LabelStudio) -> None:
    with FakeLabelStudio() as bucket:
        studio.fail("/data/upload/1/a.png", status=303, Location=f"{bucket.url}/signed?key=1")
        with pytest.raises(RedirectedElsewhere, match="/signed") as caught:
            client.get_bytes("/data/upload/1/a.png", max_bytes=9, deadline_s=5.0)
        assert caught.value.location == f"{bucket.url}/signed?key=1"
        assert bucket.requests == []


def test_a_redirect_within_label_studio_is_followed_but_not_in_circles(
    studio: FakeLabelStudio, client: LabelStudio
) -> None:
    studio.fail("/data/upload/1/a.png", status=302, Location="/data/upload/1/b.png")
    studio.fail("/data/upload/1/b.png", status=200, body=b"bytes")
    assert client.get_bytes("/data/upload/1/a.png", max_bytes=9, deadline_s=5.0) == b"bytes"
    studio.fail("/data/upload/1/c.png", status=302, times=99, Location="/data/upload/1/c.png")
    with pytest.raises(Upstream, match="in circles"):
        client.get_bytes("/data/upload/1/c.png", max_bytes=9, deadline_s=5.0)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://user:pw@host"])
def test_what_is_no_address_of_a_label_studio_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="is not the address of a Label Studio"):
        StudioSetup(url, "a" * 40)


def test_predictions_of_everything_are_refused(client: LabelStudio) -> None:
    with pytest.raises(BadInput, match="needs a project or a task"):
        client.predictions()


def test_a_single_label_host_gets_no_webhook_and_that_is_told(studio: FakeLabelStudio, client: LabelStudio) -> None:
    project = client.create_project("x", "<View/>")["id"]
    with ml_backend() as (url, _):
        client.backends.connect(project, url=url, title="samloop")
        studio.fail("/api/webhooks/", status=200, body=[])
        studio.fail("/api/webhooks/", status=400, body={"url": ["Enter a valid URL."]})
        with pytest.raises(
            BadInput, match=r"no webhook will tell it about annotations: .*Enter a valid URL.*a name with a dot"
        ):
            client.backends.connect(project, url=url, title="samloop")


def test_the_name_tells_keys_apart_and_shows_none() -> None:
    one, two = StudioSetup("http://h:1/", "a" * 40), StudioSetup("http://h:1", "b" * 40)
    assert one.name != two.name
    assert one.name.startswith("http://h:1#")
    assert "aaaa" not in one.name
