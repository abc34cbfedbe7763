"""Asks the running backend for masks over HTTP, as Label Studio does, so that no second process loads the model.

The backend has the model in memory and a warm cache of embeddings, serves one version at a time, and lets clicks pass
ahead of batches.
"""

from collections.abc import Sequence
from http import HTTPStatus

import requests
from requests.auth import HTTPBasicAuth

from backend.errors import BadInput, NotAuthorized, TooMuch, Unavailable, Upstream
from backend.labelstudio.payloads import LabelStudioJson, Task
from backend.refresh.protocol import Answer
from backend.settings import Settings

_SILENCE_S = 120.0  # the backend answers a batch after SAMLOOP_BATCH_SECONDS at the latest


class BackendClient:
    """The backend at SAMLOOP_BACKEND_URL, with its credentials.

    Every method raises Unavailable (the backend does not answer, loads or is busy), NotAuthorized, BadInput (it refuses
    the request) and Upstream (it fails otherwise).
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.backend.url
        self._silence_s = max(_SILENCE_S, settings.serving.batch_seconds + 40)
        self._http = requests.Session()
        self._http.trust_env = False  # neither a proxy nor ~/.netrc
        if settings.backend.basic_auth_user and settings.backend.basic_auth_pass:
            # As bytes: requests would encode text as Latin-1, and the backend reads UTF-8.
            self._http.auth = HTTPBasicAuth(
                settings.backend.basic_auth_user.encode(), settings.backend.basic_auth_pass.encode()
            )

    def ask_served_version(self, project_id: int) -> str:
        """Return the version that serves the project."""
        return str(self._post("/versions", {"project": project_id}).get("served"))

    def predict(self, tasks: Sequence[Task], *, project_id: int, label_config: str) -> list[Answer]:
        """Return one answer a task, in the tasks' order.

        Raises:
            Upstream: the backend sent another number of answers, or something other than predictions.
        """
        body = {
            "tasks": list(tasks),
            "project": project_id,
            "label_config": label_config,
            "params": {"context": None, "why": True},
        }
        results = self._post("/predict", body).get("results")
        if not isinstance(results, list) or len(results) != len(tasks):
            raise Upstream(
                f"{self.url} did not answer {len(tasks)} tasks with as many predictions: is it a samloop backend?"
            )
        return [Answer.from_json(result) for result in results]

    def _post(self, path: str, body: LabelStudioJson) -> LabelStudioJson:
        try:
            reply = self._http.post(self.url + path, json=body, timeout=(5, self._silence_s), allow_redirects=False)
        except requests.RequestException as fault:
            raise Unavailable(
                f"the backend does not answer on {self.url} ({type(fault).__name__}): is `samloop serve` up there, and "
                "SAMLOOP_BACKEND_URL right where the worker runs?"
            ) from fault
        status = reply.status_code
        answer = _object(reply)
        said = str(next(iter(answer.values()), ""))[:300] if status >= HTTPStatus.BAD_REQUEST else ""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise NotAuthorized(f"{self.url} refuses the worker: give it the same BASIC_AUTH_USER and BASIC_AUTH_PASS")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            after = reply.headers.get("Retry-After", "5")
            raise Unavailable(f"{self.url}: {said}", retry_after_s=int(after) if after.isdecimal() else 5)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise TooMuch(f"{self.url}: {said}")
        if 400 <= status < 500 and status not in {HTTPStatus.FAILED_DEPENDENCY, HTTPStatus.TOO_MANY_REQUESTS}:
            raise BadInput(f"{self.url} refused {path}: {said}")
        if status != HTTPStatus.OK or not answer:
            raise Upstream(f"{self.url} answered {status} to {path}: {said}")
        return answer


def _object(reply: requests.Response) -> LabelStudioJson:
    try:
        body: object = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
