"""Fresh pre-annotations: every task that nobody touched gets one prediction of the version that is served now.

The backend computes, Label Studio stores, and this walks between the two. It keeps a page of task ids at most, so that
a project may have any number of tasks; and it remembers nothing itself: what Label Studio holds tells where to go on,
after a kill as after an hour. Before a batch is written its tasks are looked at again, afterwards once more:

- a request whose answer was lost is not sent again where its predictions are there;
- a task that was annotated, skipped, drafted or deleted meanwhile gets nothing. Label Studio cannot store a prediction
  "only if": between the last look and the write lies one request, some tenths of a second;
- a prediction that Label Studio itself asked for in that window would be a double, and is removed.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from backend.errors import BadInput, TooMuch, Unavailable, Upstream
from backend.labelstudio.api.predictions import PredictionStore, TaskState
from backend.refresh.old_predictions import delete_version
from backend.refresh.protocol import OUT_OF_TIME

log = logging.getLogger(__name__)
T = TypeVar("T")
Json = dict[str, Any]

_PAGE = 500
_FIRST_BATCH, _LARGEST_BATCH = 4, 100
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_MOST_RESTARTS = 50
_MOST_WHYS = 5
_MOST_TAKEN = 3  # times that a batch may be accepted and still be lacking


class Backend(Protocol):
    """Who computes: backend.refresh.client.BackendClient, in production."""

    def served(self, project_id: int) -> str:
        """The version that serves the project."""

    def predict(self, tasks: Sequence[Json], *, project_id: int, label_config: str) -> list[Json]:
        """One prediction a task, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a refresh goes about it.

    Attributes:
        ours: versions of this project that samloop made, oldest first, the base model's name among them.
        per_second: most tasks a second; 0: as fast as both ends can.
        keep: how many of `ours` keep their predictions, the served one included; 0: all.
        flip: let people see the new version at once (`project.model_version`).
        batch_s: how long a batch should take, s.
        patience_s: how long an end that fails is tried again before the refresh gives up, s.
    """

    ours: tuple[str, ...] = ()
    per_second: float = 0.0
    keep: int = 0
    flip: bool = True
    batch_s: float = 5.0
    patience_s: float = 600.0

    def outdated(self, served: str) -> list[str]:
        """Versions of ours whose predictions are to go."""
        others = [each for each in self.ours if each != served]
        return others[: max(0, len(others) - (self.keep - 1))] if self.keep else []


@dataclass(slots=True)
class Tally:
    """What became of the tasks that nobody had touched when they were listed.

    Attributes:
        written: got a prediction.
        there: had one of this version before.
        touched: were touched, or deleted, between listing and writing; they got none.
        empty: got none, since nothing was looked for or Label Studio refused it; `whys` counts the first few reasons.
        doubles: further predictions of this version that were deleted.
        deleted: predictions of old versions that were deleted.
    """

    version: str = ""
    written: int = 0
    there: int = 0
    touched: int = 0
    empty: int = 0
    doubles: int = 0
    deleted: int = 0
    restarts: int = 0
    shown: bool = False
    seconds: float = 0.0
    whys: dict[str, int] = field(default_factory=dict)

    def left_out(self, why: str) -> None:
        """Count a task that got none."""
        self.empty += 1
        if why in self.whys or len(self.whys) < _MOST_WHYS:
            self.whys[why] = self.whys.get(why, 0) + 1

    @property
    def done(self) -> int:
        """Tasks that need no further look."""
        return self.written + self.there + self.touched + self.empty

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        parts = [f"{self.written} task(s) got predictions of {self.version}"]
        parts += [f"{self.there} had them"] if self.there else []
        parts += [f"{self.touched} were touched meanwhile and got none"] if self.touched else []
        parts += [f"{count} got none: {why}" for why, count in self.whys.items()]
        parts += [f"{self.deleted} old prediction(s) deleted"] if self.deleted else []
        parts += [f"people see {self.version} now"] if self.shown else []
        return "; ".join(parts)


class Moved(Exception):
    """Another version serves the project by now."""


class Refresh:
    """One walk over a project.

    Args:
        store: what Label Studio holds.
        backend: who computes.
        rules: how.
        progress: hears of every batch: `progress("refreshing", version=, done=, total=)`.
        check: raises where the walk must end: it was cancelled, or another one has taken over.
    """

    def __init__(
        self,
        *,
        store: PredictionStore,
        backend: Backend,
        rules: Rules,
        progress: Callable[..., None],
        check: Callable[[], None],
    ) -> None:
        self._store, self._backend, self._rules = store, backend, rules
        self._progress, self._check = progress, check
        self._tally = Tally()
        self._batch_size = _FIRST_BATCH

    def run(self) -> Tally:
        """Walk until every untouched task was seen under one version; then show it, and delete the oldest.

        Raises:
            SamloopError: Label Studio or the backend failed for longer than `patience_s`; whatever `check` raises.
        """
        began_s = time.monotonic()
        for restart in range(_MOST_RESTARTS):
            version = self._patiently(lambda: self._backend.served(self._store.project_id))
            self._tally = Tally(version=version, restarts=restart)
            try:
                self._walk()
            except Moved as moved:
                log.info("%s is served now: beginning again", moved, extra={"event": "refresh.superseded"})
                continue
            self._tidy()
            self._tally.seconds = round(time.monotonic() - began_s, 1)
            return self._tally
        raise Unavailable(f"{_MOST_RESTARTS} versions followed each other faster than this project can be refreshed")

    def _walk(self) -> None:
        label_config = str(self._patiently(self._store.project).get("label_config"))
        after, total = 0, None
        while True:
            self._check()
            states, left = self._patiently(partial(self._store.untouched, after=after, limit=_PAGE))
            total = left if total is None else total
            if not states:
                return
            lacking = [each for each in states if self._tally.version not in each.versions]
            self._tally.there += len(states) - len(lacking)
            for batch in self._batches(lacking):
                self._batch(batch, label_config=label_config)
                self._progress("refreshing", version=self._tally.version, done=self._tally.done, total=total)
            after = states[-1].task_id

    def _batches(self, states: Sequence[TaskState]) -> Iterator[Sequence[TaskState]]:
        """Parts of a page that take about `batch_s` each, as far as the last one tells."""
        start = 0
        while start < len(states):
            size, began_s = self._batch_size, time.monotonic()
            yield states[start : start + size]
            start += size
            took_s = max(1e-3, time.monotonic() - began_s)
            factor = min(2.0, max(0.25, self._rules.batch_s / took_s))
            self._batch_size = min(_LARGEST_BATCH, max(1, round(size * factor)))
            if self._rules.per_second:
                self._sleep(size / self._rules.per_second - took_s)

    def _batch(self, states: Sequence[TaskState], *, label_config: str) -> None:
        self._check()
        answers = {}
        for task, answer in self._answers(self._prompting(states), label_config=label_config):
            if answer.get("model_version") != self._tally.version:
                raise Moved(answer.get("model_version"))
            if why := answer.get("why"):
                self._tally.left_out(str(why))
            else:
                answers[int(task["id"])] = {"task": int(task["id"]), **answer}
        self._write(answers)

    def _prompting(self, states: Sequence[TaskState]) -> list[Json]:
        """The tasks as `/predict` needs them: with their predictions only where those may hold others' rectangles."""
        foreign = [each.task_id for each in states if each.versions - set(self._rules.ours)]
        full = {int(task["id"]): task for task in self._patiently(partial(self._store.tasks, foreign))}
        return [full.get(each.task_id) or {"id": each.task_id, "data": each.data} for each in states]

    def _answers(self, tasks: list[Json], *, label_config: str) -> list[tuple[Json, Json]]:
        """Tasks with their predictions; what is too much for one request, or for its time, is asked for in parts."""

        def ask() -> list[tuple[Json, Json]]:
            found = self._backend.predict(tasks, project_id=self._store.project_id, label_config=label_config)
            if all(_is_late(each) for each in found):
                # What was begun is encoded meanwhile: the next try gets further.
                raise Unavailable("the backend came to none of a batch's tasks within SAMLOOP_BATCH_SECONDS")
            return list(zip(tasks, found, strict=True))

        try:
            pairs = self._patiently(ask)
        except TooMuch as fault:
            if len(tasks) == 1:
                return [(tasks[0], {"model_version": self._tally.version, "why": str(fault)})]
            half = len(tasks) // 2
            parts = (tasks[:half], tasks[half:])
            return [pair for part in parts for pair in self._answers(part, label_config=label_config)]
        late = [task for task, answer in pairs if _is_late(answer)]
        in_time = [pair for pair in pairs if not _is_late(pair[1])]
        return in_time + (self._answers(late, label_config=label_config) if late else [])

    def _write(self, answers: dict[int, Json]) -> None:
        """Store what is lacking, after a look and before another, until nothing is lacking any more."""
        patience, sent, taken = _Patience(self._rules.patience_s, sleep=self._sleep), False, 0
        while pending := self._lacking(answers, sent=sent):
            if taken == _MOST_TAKEN:  # or it would fill Label Studio with doubles for ever
                raise BadInput(f"Label Studio took predictions of {self._tally.version} and does not list them")
            answers = pending
            try:
                # Fewer than were sent: Label Studio leaves out in silence what does not fit the labelling config.
                if self._store.add([_row(each) for each in pending.values()]) < len(pending):
                    self._write_one_by_one(pending)
                taken += 1
            except BadInput as fault:
                log.info("a batch was refused, going on one by one: %s", fault, extra={"event": "refresh.one_by_one"})
                self._write_one_by_one(pending)
            except Upstream as fault:  # it may have stored them all the same: the next look tells
                patience.wait(fault)
            sent = True

    def _lacking(self, answers: dict[int, Json], *, sent: bool) -> dict[int, Json]:
        """Those of the answers that are still to be stored; the others are counted."""
        if not answers:
            return {}
        states = self._patiently(partial(self._store.states, list(answers)))
        there = [each for each in states.values() if self._tally.version in each.versions]
        touched = {key for key in answers if key not in states or states[key].touched} - {e.task_id for e in there}
        if sent:
            self._tally.written += len(there)
        else:
            self._tally.there += len(there)
        self._tally.touched += len(touched)
        self._remove_doubles(there)
        over = touched | {each.task_id for each in there}
        return {key: each for key, each in answers.items() if key not in over}

    def _write_one_by_one(self, pending: dict[int, Json]) -> None:
        """Store each alone where it is lacking; what Label Studio refuses is counted, and taken out of `pending`."""
        for key in list(pending):
            state = self._patiently(partial(self._store.states, [key])).get(key)
            if state is None or state.touched or self._tally.version in state.versions:
                continue
            try:
                self._store.add_one(_row(pending[key]))
            except BadInput as fault:
                self._tally.left_out(str(fault))
                del pending[key]

    def _remove_doubles(self, states: Iterable[TaskState]) -> None:
        for each in states:
            if each.stored > len(each.versions) and self._tally.version in each.versions:
                remove = partial(self._store.remove_doubles, each.task_id, self._tally.version)
                self._tally.doubles += self._patiently(remove)

    def _tidy(self) -> None:
        """Show the version, where any task has a prediction of it, and delete those of ours that are too old."""
        tally, rules, store = self._tally, self._rules, self._store
        shown = str(self._patiently(store.project).get("model_version") or "")
        counts = self._patiently(store.counts)
        if rules.flip and counts.get(tally.version) and shown != tally.version:
            self._patiently(partial(store.show, tally.version))
            shown = tally.version
        tally.shown = shown == tally.version
        for version in rules.outdated(tally.version):
            if counts.get(version) and version != shown:
                tally.deleted += delete_version(version, store=store, patiently=self._patiently)
        # Deleting any version takes a backend's live answers off the screen.
        if tally.deleted and shown and self._patiently(store.project).get("model_version") != shown:
            self._patiently(partial(store.show, shown))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer; a failure that may pass is waited out."""
        patience = _Patience(self._rules.patience_s, sleep=self._sleep)
        while True:
            try:
                return ask()
            except (Upstream, Unavailable) as fault:
                patience.wait(fault)

    def _sleep(self, seconds: float) -> None:
        """Wait, and notice meanwhile that it is over."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 1.0))
            self._check()


class _Patience:
    """Waits longer after each failure, as long as was asked for at least, and for so many seconds in all."""

    def __init__(self, seconds: float, *, sleep: Callable[[float], None]) -> None:
        self._until_s, self._pause_s, self._sleep = time.monotonic() + seconds, _FIRST_PAUSE_S, sleep

    def wait(self, fault: Upstream | Unavailable) -> None:
        """Wait, or raise the fault where it has lasted too long."""
        wait_s = max(self._pause_s * random.uniform(0.5, 1.0), fault.retry_after_s or 0.0)  # noqa: S311 - spreads clients
        if time.monotonic() + wait_s > self._until_s:
            raise fault
        log.info("waiting %.1f s: %s", wait_s, fault, extra={"event": "refresh.waiting"})
        self._sleep(wait_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def _is_late(answer: Json) -> bool:
    return answer.get("why") == OUT_OF_TIME


def _row(answer: Json) -> Json:
    return {name: answer[name] for name in ("task", "result", "score", "model_version")}
