"""Runs a refresh as an RQ job: new pre-annotations for a project's untouched tasks, by backend.refresh.walk."""

import logging
import time
from collections.abc import Callable

from rq import Retry

from backend.errors import Unavailable
from backend.labelstudio.api.client import address_and_key
from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.client import BackendClient
from backend.refresh.rules import Rules
from backend.refresh.walk import Refresh
from backend.registry.opening import open_registry
from backend.registry.protocol import Registry
from backend.settings import Settings
from backend.work.keys import Keys
from finetuner.job import Assignment, execute

log = logging.getLogger(__name__)
_ADOPTED_S, _LOOK_S = 60.0, 0.5


class Cancelled(Exception):
    """The refresh was cancelled."""


def run(project_id: int, generation: int) -> dict[str, object] | Retry:
    """Refresh the project, for all requests so far. RQ calls this in a child process; see finetuner.job.execute."""
    return execute(project_id, generation, kind="refresh", work=_refresh)


def _refresh(assignment: Assignment) -> dict[str, object]:
    settings, project_id = assignment.settings, assignment.project_id
    check = _check_of(assignment)
    registry, backend = open_registry(settings), BackendClient(settings)
    try:
        _await_adoption(backend, registry, assignment, check=check)
        tally = Refresh(
            store=_store(settings, project_id),
            backend=backend,
            rules=rules_of(settings, registry, project_id),
            progress=assignment.progress,
            check=check,
        ).run()
    except Cancelled:
        return {"version": None, "cancelled": True, "reason": "cancelled; predictions written so far stay"}
    return {**tally.to_json(), "cancelled": False}


def rules_of(settings: Settings, registry: Registry, project_id: int) -> Rules:
    """The rules of a project's refreshes, from the settings."""
    manifests = registry.versions(project_id)
    bases = dict.fromkeys(manifest.base_model for manifest in manifests)
    return Rules(
        ours=(*bases, *(manifest.version for manifest in manifests)),
        per_second=settings.predictions.refresh_rate,
        at_once=settings.predictions.refresh_batches,
        keep=settings.predictions.keep_predictions,
        flip=settings.predictions.flip,
    )


def _store(settings: Settings, project_id: int) -> PredictionStore:
    url, key = address_and_key(settings, where="where the worker runs")
    return PredictionStore(url, key, project_id=project_id)


def _check_of(assignment: Assignment) -> Callable[[], None]:
    """A function that raises if the refresh must end."""
    cancelled = Keys(assignment.project_id, "refresh").cancelled

    def check() -> None:
        assignment.fence()
        if int(assignment.connection.get(cancelled) or 0) >= assignment.target:
            raise Cancelled

    return check


def _await_adoption(
    backend: BackendClient, registry: Registry, assignment: Assignment, *, check: Callable[[], None]
) -> None:
    """Wait until the backend serves the latest promoted version; it polls the registry every second or two.

    A version promoted meanwhile replaces the awaited one, which the backend may skip. The wait has a limit: if the
    backend refuses a checkpoint, it keeps serving another version, and the refresh uses that.
    """
    project_id, awaited, until_s = assignment.project_id, None, 0.0
    while (champion := registry.champion(project_id)) is not None:
        check()
        if champion.number != awaited:
            awaited, until_s = champion.number, time.monotonic() + _ADOPTED_S
        try:
            served = backend.ask_served_version(project_id)
            others = {manifest.version for manifest in registry.versions(project_id)} - {champion.version}
            if served == champion.version or (champion.version is None and served not in others):
                return
            assignment.progress("waiting", version=champion.version or "the base model", served=served)
        except Unavailable as fault:
            log.info("waiting for the backend: %s", fault, extra={"event": "refresh.waiting"})
        if time.monotonic() > until_s:
            break
        time.sleep(_LOOK_S)
    else:
        return
    log.warning(
        "the backend does not serve the promoted version %s: refreshing with the version that it serves",
        champion.version,
        extra={"event": "refresh.not_adopted"},
    )
