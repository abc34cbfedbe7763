"""Answers POST /predict: clicks by the decoder, batches without a prompt."""

import logging
import time
from typing import Any

from backend.errors import BadInput, SamloopError
from backend.http.metrics import Metrics
from backend.ids import parse_label_studio_project
from backend.images.connections import Connections
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.payloads import Prediction
from backend.labelstudio.reasons import clear_reason, write_reason
from backend.labelstudio.values import read_id
from backend.live.evaluation import LiveEvaluation
from backend.server.bodies import PredictBody
from backend.serving.answers import empty_prediction
from backend.serving.engine import Engine
from backend.serving.refusals import Refusals
from backend.serving.task_image import TaskImage
from backend.serving.turns.lanes import LONGEST_S

log = logging.getLogger(__name__)


class Predicting:
    """Answers with the model that serves the project when the request begins."""

    def __init__(
        self,
        *,
        engine: Engine,
        connections: Connections,
        metrics: Metrics,
        live: LiveEvaluation,
        refusals: Refusals,
    ) -> None:
        self._refusals = refusals
        self._engine, self._connections, self._metrics, self._live = engine, connections, metrics, live

    def answer(self, body: PredictBody) -> list[Any]:
        """Return one prediction a task, as Label Studio's JSON, in the tasks' order; [] for a task out of time.

        Where the labelling interface has a tag for it, a click that brings no mask is answered with its reason there.

        Raises:
            BadInput: prompts, tasks or the labelling interface cannot be used.
            Unavailable: no model is loaded yet, or there are too many requests.
        """
        began_s = time.monotonic()
        try:
            results = self._results(body, began_s=began_s)
        except SamloopError as failure:
            kind = type(failure).__name__
            self._metrics.count_failure(kind)
            if _is_click(body):
                self._tell_refusal(body, kind=kind, reason=str(failure))
                if (shown := self._show_reason(body, str(failure))) is not None:
                    return [shown]
            raise
        _log_answer(body, results, took_s=time.monotonic() - began_s)
        if not _is_click(body):
            return results
        (answer,) = results
        if answer["result"] or "note" not in answer:
            return [clear_reason(answer, label_config=body.label_config)]
        self._tell_refusal(body, kind="NoMask", reason=answer["note"])
        return [self._show_reason(body, answer["note"]) or answer]

    def _tell_refusal(self, body: PredictBody, *, kind: str, reason: str) -> None:
        """Record a click that got no mask: Label Studio answers 200 and shows its annotator nothing.

        `kind` is the error's class, or NoMask where an answer shows nothing.
        """
        self._metrics.count_refused_click(kind)
        task_id, project_id = _task_id(body), None
        try:
            project_id = parse_label_studio_project(body.project)
            self._refusals.note(project_id, task_id=task_id, reason=reason)
        except BadInput:
            pass  # the project's id itself is not valid, and the line below says so
        log.warning(
            "a click in project %s on task %s %s: %s",
            project_id,
            task_id,
            "got no mask" if kind == "NoMask" else "was refused",
            reason,
            extra={"event": "click.refused", "project_id": project_id, "task_id": task_id},
        )

    def _show_reason(self, body: PredictBody, reason: str) -> Prediction | None:
        """Return the answer that shows a reason in the editor; None where the project has no tag for it."""
        try:
            project_id = parse_label_studio_project(body.project)
        except BadInput:
            return None
        return write_reason(reason, label_config=body.label_config, model_version=self._engine.version(project_id))

    def _results(self, body: PredictBody, *, began_s: float) -> list[Any]:
        project_id = parse_label_studio_project(body.project) if body.project is not None else None
        context = body.params.context if body.params else None
        if context is not None:
            _check_interactive(body)
        loaded = self._engine.wait()
        snapshot = loaded.slot.snapshot(project_id)
        if not body.label_config:  # without it we do not know where the images are
            return [empty_prediction(snapshot.version) for _ in body.tasks]
        config, source = parse_label_config(body.label_config), self._connections.images(project_id)
        images = [TaskImage(task=task, config=config, images=source, project_id=project_id) for task in body.tasks]
        results: list[Any]
        if context is None:
            answers = loaded.batches.answer(images, snapshot=snapshot, began_s=began_s)
            tells_why = body.params is not None and body.params.why
            results = [answer.with_reason() if tells_why else answer.for_label_studio() for answer in answers]
        else:
            clicked = loaded.clicks.answer(images[0], context, snapshot=snapshot, until_s=began_s + LONGEST_S)
            results = [clicked]
            if project_id is not None:
                self._live.remember_sent(project_id, clicked["result"])
        # A single task is open on somebody's screen: prepare the tasks that come next.
        if len(images) == 1 and project_id is not None:
            loaded.prewarm.note_opened_task(images[0], label_studio=self._connections.label_studio(project_id))
        return results


def _is_click(body: PredictBody) -> bool:
    return body.params is not None and body.params.context is not None


def _task_id(body: PredictBody) -> int | None:
    return read_id(body.tasks[0].get("id")) if len(body.tasks) == 1 else None


def _log_answer(body: PredictBody, results: list[Any], *, took_s: float) -> None:
    """Log a line for a click or a batch."""
    predictions = [result for result in results if isinstance(result, dict)]
    figures = {
        "project": str(body.project)[:40] if body.project is not None else None,
        "tasks": len(results),
        "task": _task_id(body),
        "regions": sum(len(prediction["result"]) for prediction in predictions),
        "version": predictions[0]["model_version"] if predictions else None,
        "ms": round(1000 * took_s),
    }
    kind = "click" if _is_click(body) else "batch"
    words = " ".join(f"{name}={value!s}" for name, value in figures.items() if value is not None)
    log.info("%s %s", kind, words, extra={"event": f"{kind}.answered", **figures})


def _check_interactive(body: PredictBody) -> None:
    if len(body.tasks) != 1:
        raise BadInput(f"{len(body.tasks)} tasks came with a context: send exactly one task in an interactive request")
    if not body.label_config:
        raise BadInput("label_config is missing: send it, for it names the masks' control tag")
