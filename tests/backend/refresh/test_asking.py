"""A batch's predictions are asked for in as many requests as it takes, with what its tasks need."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support.clock import HandClock

from backend.errors import TooMuch, Unavailable
from backend.labelstudio.api.predictions import TaskState
from backend.refresh.asking import Asking
from backend.refresh.patience import Patience
from backend.refresh.protocol import OUT_OF_TIME, Answer


class Store:
    """Stands in for PredictionStore: full tasks by id."""

    project_id = 7

    def __init__(self) -> None:
        self.fetched: list[int] = []

    def tasks(self, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        self.fetched += task_ids
        return [{"id": task_id, "data": {}, "predictions": ["a detector's"]} for task_id in task_ids]


class Backend:
    """Answers every task with v1, after `before_answer` and with the reasons in `why`."""

    def __init__(self) -> None:
        self.requests: list[list[Any]] = []
        self.why: dict[int, str] = {}
        self.before_answer: Callable[[list[int]], None] = lambda _: None

    def ask_served_version(self, project_id: int) -> str:
        return "v1"

    def predict(self, tasks: Sequence[Any], *, project_id: int, label_config: str) -> list[Answer]:
        assert (project_id, label_config) == (7, "<View/>")
        self.requests.append(list(tasks))
        self.before_answer([task["id"] for task in tasks])
        return [Answer("v1", why=self.why.get(task["id"])) for task in tasks]


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def asking(backend: Backend, store: Any) -> Asking:
    clock = HandClock()
    patience = Patience(
        check=lambda: None, patience_s=60.0, first_pause_s=0.5, longest_pause_s=60.0, clock=clock, sleep=clock.advance
    )
    return Asking(
        backend=backend, store=store, patience=patience, ours=("base", "v0"), version="v1", label_config="<View/>"
    )


def states(*task_ids: int, versions: frozenset[str] = frozenset()) -> list[TaskState]:
    return [
        TaskState(task_id=task_id, versions=versions, stored=len(versions), touched=False, data={"image": "x"})
        for task_id in task_ids
    ]


def test_a_task_goes_with_its_predictions_only_where_another_model_made_some(
    asking: Asking, backend: Backend, store: Store
) -> None:
    batch = [
        *states(1),
        *states(2, versions=frozenset({"v0", "base"})),
        *states(3, versions=frozenset({"v0", "a detector"})),
    ]
    assert [task_id for task_id, _ in asking.ask(batch)] == [1, 2, 3]
    assert store.fetched == [3]
    assert backend.requests == [
        [
            {"id": 1, "data": {"image": "x"}},
            {"id": 2, "data": {"image": "x"}},
            {"id": 3, "data": {}, "predictions": ["a detector's"]},
        ]
    ]


def test_a_body_that_is_too_large_is_halved_down_to_the_task_that_is_too_large_alone(
    asking: Asking, backend: Backend
) -> None:
    def refuse_many(ids: list[int]) -> None:
        if len(ids) > 1 or ids == [3]:
            raise TooMuch("above the limit")

    backend.before_answer = refuse_many
    answers = dict(asking.ask(states(1, 2, 3, 4)))
    assert {task_id: answer.why for task_id, answer in answers.items()} == {
        1: None,
        2: None,
        3: "above the limit",
        4: None,
    }
    assert answers[3].model_version == "v1"


def test_tasks_whose_turn_did_not_come_are_asked_for_again_alone(asking: Asking, backend: Backend) -> None:
    late = iter([{3: OUT_OF_TIME, 4: OUT_OF_TIME}, {4: OUT_OF_TIME}, {}])
    backend.before_answer = lambda _: setattr(backend, "why", next(late))
    answers = asking.ask(states(1, 2, 3, 4))
    assert sorted(task_id for task_id, _ in answers) == [1, 2, 3, 4]
    assert not any(answer.is_late for _, answer in answers)
    assert [[task["id"] for task in request] for request in backend.requests] == [[1, 2, 3, 4], [3, 4], [4]]


def test_a_backend_that_comes_to_none_is_waited_for_and_then_given_up_with_the_setting(
    asking: Asking, backend: Backend
) -> None:
    backend.why = {1: OUT_OF_TIME, 2: OUT_OF_TIME}
    with pytest.raises(Unavailable, match="SAMLOOP_BATCH_SECONDS"):
        asking.ask(states(1, 2))
    assert len(backend.requests) > 3
