"""Asks the backend for a batch's predictions, in as many requests as it takes."""

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
    """Who computes: backend.refresh.client.BackendClient, in production."""

    def served(self, project_id: int) -> str:
        """The version that serves the project."""

    def predict(self, tasks: Sequence[Task], *, project_id: int, label_config: str) -> list[Answer]:
        """One answer a task, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Asks for the answers of one walk.

    Attributes:
        backend: who computes.
        store: what Label Studio holds.
        patience: how failures are waited out.
        ours: versions of this project that samloop made.
        version: the version that the walk writes.
        label_config: the project's.
    """

    backend: Backend
    store: PredictionStore
    patience: Patience
    ours: tuple[str, ...]
    version: str
    label_config: str

    def ask(self, states: Sequence[TaskState]) -> list[tuple[int, Answer]]:
        """The answer for every task of a batch, with the task's id; none of them is late."""
        return [(int(task["id"]), answer) for task, answer in self._ask_for(self._tasks_to_send(states))]

    def _tasks_to_send(self, states: Sequence[TaskState]) -> list[Task]:
        """The tasks as `/predict` needs them: with their predictions only where those may hold others' rectangles."""
        foreign = [state.task_id for state in states if state.versions - set(self.ours)]
        full = {int(task["id"]): task for task in self.patience.ask(partial(self.store.tasks, foreign))}
        return [full.get(state.task_id) or {"id": state.task_id, "data": state.data} for state in states]

    def _ask_for(self, tasks: list[Task]) -> list[tuple[Task, Answer]]:
        """Tasks with their answers; what is too much for one request, or for its time, is asked for in parts."""
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
            # What was begun is encoded meanwhile: the next try gets further.
            raise Unavailable("the backend came to none of a batch's tasks within SAMLOOP_BATCH_SECONDS")
        return answers
