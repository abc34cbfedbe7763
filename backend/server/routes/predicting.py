"""What POST /predict does: a click is answered by the decoder, a batch by what needs no prompt."""

import time
from typing import Any

from backend.errors import BadInput, SamloopError
from backend.http.metrics import Metrics
from backend.ids import parse_label_studio_project
from backend.images.connections import Connections
from backend.labelstudio.label_config import parse_label_config
from backend.live.evaluation import LiveEvaluation
from backend.server.bodies import PredictBody
from backend.serving.answers import empty_prediction
from backend.serving.engine import Engine
from backend.serving.task_image import TaskImage
from backend.serving.turns.lanes import LONGEST_S


class Predicting:
    """Answers, from the model that serves the project when the request begins."""

    def __init__(self, *, engine: Engine, connections: Connections, metrics: Metrics, live: LiveEvaluation) -> None:
        self._engine, self._connections, self._metrics, self._live = engine, connections, metrics, live

    def answer(self, body: PredictBody) -> list[Any]:
        """One prediction a task, as Label Studio's JSON, in the order of the tasks; [] for a task out of time.

        Raises:
            BadInput: prompts, tasks or the labelling config cannot be used.
            Unavailable: no model is loaded yet, or too many ask.
        """
        began_s = time.monotonic()
        try:
            return self._results(body, began_s=began_s)
        except SamloopError as failure:
            self._metrics.failed(type(failure).__name__)
            raise

    def _results(self, body: PredictBody, *, began_s: float) -> list[Any]:
        project_id = parse_label_studio_project(body.project) if body.project is not None else None
        context = body.params.context if body.params else None
        if context is not None:
            _check_interactive(body)
        loaded = self._engine.wait()
        snapshot = loaded.slot.snapshot(project_id)
        if not body.label_config:  # nothing tells where the images are
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
                self._live.sent(project_id, clicked["result"])
        # One task alone is one that somebody opened, or clicks on: what comes next can be made ready.
        if len(images) == 1 and project_id is not None:
            loaded.prewarm.note_opened_task(images[0], label_studio=self._connections.label_studio(project_id))
        return results


def _check_interactive(body: PredictBody) -> None:
    if len(body.tasks) != 1:
        raise BadInput(f"{len(body.tasks)} tasks came with one context: an interactive request has exactly one task")
    if not body.label_config:
        raise BadInput("label_config is missing: the masks' control tag is read from it")
