"""Asks the backend for a batch's predictions, in as many requests as that takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from backend.errors import TooMuch, Unavailable
from backend.labelstudio.api.predictions import PredictionStore, TaskState
from backend.labelstudio.payloads import Task
from backend.refresh.patience import Patience
from backend.refresh.protocol import Answer


class Backend(Protocol):
    """Computes predictions; in production backend.refresh.client.BackendClient."""

    def ask_served_version(self, project_id: int) -> str:
        """Return the version that serves the project."""

    def predict(self, tasks: Sequence[Task], *, project_id: int, label_config: str) -> list[Answer]:
        """Return one answer a task, in the tasks' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks for the answers of one walk.

    Attributes:
        backend: computes the predictions.
        store: the project's tasks and predictions in Label Studio.
        patience: waits out failures that pass.
        ours: the versions of this project that samloop made.
        version: the version whose predictions the walk writes.
        label_config: the project's labelling interface.
    """

    backend: Backend
    store: PredictionStore
    patience: Patience
    ours: tuple[str, ...]
    version: str
    label_config: str

    def ask(self, states: Sequence[TaskState]) -> list[tuple[int, Answer]]:
        """Return every task's id and answer. No answer is late."""
        return [(int(task["id"]), answer) for task, answer in self._ask_for(self._tasks_to_send(states))]

    def _tasks_to_send(self, states: Sequence[TaskState]) -> list[Task]:
        """Return the tasks for `/predict`, with their predictions only where those may hold other tools' rectangles."""
        foreign = [state.task_id for state in states if state.versions - set(self.ours)]
        full = {int(task["id"]): task for task in self.patience.ask(partial(self.store.tasks, foreign))}
        return [full.get(state.task_id) or {"id": state.task_id, "data": state.data} for state in states]

    def _ask_for(self, tasks: list[Task]) -> list[tuple[Task, Answer]]:
        """Return the tasks with their answers. A batch too large for one request or its time goes out in parts."""
        try:
            answers = self.patience.ask(partial(self._ask_once, tasks))
        except TooMuch as fault:
            if len(tasks) == 1:
                return [(tasks[0], Answer(self.version, why=str(fault)))]
            half = len(tasks) // 2
            return self._ask_for(tasks[:half]) + self._ask_for(tasks[half:])
        pairs = list(zip(tasks, answers, strict=True))
        late = [task for task, answer in pairs if answer.is_late]
        in_time = [pair for pair in pairs if not pair[1].is_late]
        return in_time + (self._ask_for(late) if late else [])

    def _ask_once(self, tasks: list[Task]) -> list[Answer]:
        answers = self.backend.predict(tasks, project_id=self.store.project_id, label_config=self.label_config)
        if all(answer.is_late for answer in answers):
            # The backend has encoded the batch's first images by now, so the next try gets further.
            raise Unavailable(
                "the backend finished none of a batch's tasks within SAMLOOP_BATCH_SECONDS; raise it on a slow machine"
            )
        return answers
