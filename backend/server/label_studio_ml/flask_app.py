"""Our service in label-studio-ml's Flask application: checks every request first, and answers every error.

The objects are our own server's, wired by the same `create_app`. The harness's routes call the same handlers, so that
both servers answer alike.
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import flask
from fastapi import FastAPI
from label_studio_ml import api
from pydantic import ValidationError
from redis import Redis

from backend.errors import BadInput, SamloopError
from backend.http.guard import MAX_BODY_BYTES, check_body_headers, check_credentials, credentials
from backend.http.hosts import KnownHosts, check_sender
from backend.http.problems import failure, invalid, problem_response
from backend.http.strict_json import read_json
from backend.ids import parse_label_studio_project
from backend.labelstudio.payloads import LabelStudioJson
from backend.labelstudio.webhook import parse_event
from backend.server.app import create_app, list_hosts
from backend.server.bodies import PredictBody, ProjectBody, SetupBody
from backend.server.label_studio_ml.model import IS_1X, SamBackend
from backend.server.routes import Routes
from backend.server.status import Predictions
from backend.settings import Settings

_START_S = 60.0
_BODIES: dict[str, type[PredictBody | SetupBody | ProjectBody]] = {
    "/predict": PredictBody,
    "/setup": SetupBody,
    "/train": ProjectBody,
    "/versions": ProjectBody,
}


def create_flask_app(settings: Settings, *, connection: Redis) -> flask.Flask:
    """Return the harness's own application, which answers with our service. The models begin to load.

    Args:
        settings: the environment's settings.
        connection: the queue's Redis.
    """
    ours = create_app(settings, connection=connection)
    loop = _live(ours)
    routes: Routes = ours.state.routes
    expected = credentials(settings.backend.basic_auth_user, settings.backend.basic_auth_pass)
    if IS_1X:
        from backend.server.label_studio_ml.manager import SamManager

        api._manager = SamManager()  # noqa: SLF001 - its routes look there; 1.0.9 is the last that has it
    app: flask.Flask = api.init_app(SamBackend.over(RoutedService(routes, loop=loop)))
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # Our checks come first: the harness's write bodies to the log, and 2.x compares credentials as ASCII text.
    api.BASIC_AUTH = None
    app.before_request_funcs.setdefault(None, []).insert(
        0, lambda: _first(routes, expected=expected, known=list_hosts(settings))
    )
    app.after_request_funcs.setdefault(None, []).append(_answer_plainly)
    app.register_error_handler(SamloopError, _response)
    return app


class RoutedService:
    """The `Service` of SamBackend over our own handlers; those that are coroutines run on `loop`."""

    def __init__(self, routes: Routes, *, loop: asyncio.AbstractEventLoop) -> None:
        self._label_studio, self._projects, self._loop = routes.label_studio, routes.projects, loop

    def version(self, project: str | None) -> str:
        """Return the version that POST /setup names; the base model's where no project is named."""
        with _keep_error():
            if project is None:
                return self._label_studio.versions().versions[0]
            return self._label_studio.setup(SetupBody(project=project)).model_version

    def predict(self, body: LabelStudioJson) -> list[Any]:
        """Return the answer of POST /predict."""
        with _keep_error():
            answer: Predictions = self._wait(self._label_studio.predict(PredictBody.model_validate(body)))
            return answer.results

    def webhook(self, body: LabelStudioJson) -> LabelStudioJson:
        """Return the answer of POST /webhook."""
        with _keep_error():
            return self._label_studio.webhook(body).model_dump()

    def versions(self, project: str) -> list[str]:
        """Return the list of POST /versions."""
        with _keep_error():
            return self._label_studio.project_versions(ProjectBody(project=project)).versions

    def is_training(self, project: str) -> bool:
        """Return whether GET /projects/{id}/status says that a training runs."""
        with _keep_error():
            return self._projects.status(parse_label_studio_project(project)).phase == "training"

    def _wait(self, answer: Any) -> Any:  # noqa: ANN401 - what a handler gives, or a coroutine that will
        """Wait for the answer of a handler that may or may not be a coroutine, which may change."""
        if asyncio.iscoroutine(answer):
            return asyncio.run_coroutine_threadsafe(answer, self._loop).result()
        return answer


@contextmanager
def _keep_error() -> Iterator[None]:
    """Leave an error of ours for `_answer_plainly`: the harness turns any error into a 500 with a traceback."""
    try:
        yield
    except ValidationError as fault:
        flask.g.samloop_fault = invalid(fault, within=("body",))
        raise flask.g.samloop_fault from fault
    except SamloopError as fault:
        flask.g.samloop_fault = fault
        raise


def _first(routes: Routes, *, expected: bytes | None, known: KnownHosts) -> flask.Response | None:
    """Check what our own server checks of every request; the harness checks nothing."""
    request = flask.request
    headers = {name.lower().encode(): value.encode("latin-1", "replace") for name, value in request.headers.items()}
    try:
        check_credentials(headers.get(b"authorization", b""), expected=expected)
        if expected is None:
            known.check(request.headers.get("Host", ""))
        check_sender(request.method, {name.lower(): value for name, value in request.headers.items()}, known=known)
        check_body_headers(headers)
        if b"transfer-encoding" in headers:
            raise BadInput("a body without a Content-Length is not accepted: send the header")
        if request.method == "POST":
            _check(request.path, read_json(request.get_data(), kind=request.content_type or ""), routes)
            _complete(request.path, request.get_json(silent=True))
    except SamloopError as fault:
        return _response(fault)
    return None


def _check(path: str, body: object, routes: Routes) -> None:
    """Refuse bodies that would break the harness, and remember what it would drop: /setup's address and token."""
    try:
        if path == "/webhook":
            event = parse_event(body)
            if event.starts_training and event.project_id is None:
                raise BadInput("START_TRAINING came without project.id: send the id of the project to train")
        elif path in _BODIES:
            told = _BODIES[path].model_validate(body)
            if told.project is not None:
                parse_label_studio_project(told.project)
            if isinstance(told, SetupBody):
                routes.label_studio.setup(told)
    except ValidationError as fault:
        raise invalid(fault, within=("body",)) from fault


def _complete(path: str, body: object) -> None:
    """Add to a checked body, in place, what the harnesses take for granted and our own server does not need.

    `body` is the object that Flask keeps for the harness. Label Studio sends these keys; scripts leave them out.
    """
    if not isinstance(body, dict):
        return
    if path == "/webhook":
        project = body.get("project")
        body["project"] = {"id": None, "label_config": None} | (
            project if isinstance(project, dict) else {"id": project}
        )
    elif path == "/setup":
        body["project"] = str(body["project"])
    elif path in _BODIES:
        body["params"] = body.get("params") or {}


def _answer_plainly(response: flask.Response) -> flask.Response:
    """Answer every failure with one sentence: the harness's answer has the traceback, which belongs only in the log."""
    fault: SamloopError | None = flask.g.pop("samloop_fault", None)
    if fault is None and response.status_code >= 500:
        fault = failure()
    return response if fault is None else _response(fault)


def _response(fault: SamloopError) -> flask.Response:
    ours = problem_response(fault)
    headers = {name: value for name, value in ours.headers.items() if name != "connection"}  # is the WSGI server's
    return flask.Response(bytes(ours.body), status=ours.status_code, headers=headers)


def _live(app: FastAPI) -> asyncio.AbstractEventLoop:
    """Run the application's lifespan on a loop of its own that lasts as long as the process."""
    begun: Future[asyncio.AbstractEventLoop] = Future()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            begun.set_result(asyncio.get_running_loop())
            await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(live()), name="lifespan", daemon=True).start()
    try:
        return begun.result(_START_S)
    except TimeoutError as fault:
        raise SamloopError("the server did not start: the log says why") from fault
