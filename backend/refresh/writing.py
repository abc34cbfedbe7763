"""Stores a batch's predictions in Label Studio, between two looks at its tasks.

- A request whose answer was lost is not repeated if its predictions arrived.
- A task that somebody annotated, skipped, drafted or deleted meanwhile gets no prediction. Label Studio has no
  conditional write, so a window of one request, some tenths of a second, remains between look and write.
- A prediction that Label Studio itself requested in that window would be a duplicate, and is removed.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from backend.errors import BadInput, Upstream
from backend.labelstudio.api.predictions import PredictionStore, TaskState
from backend.refresh.patience import Patience
from backend.refresh.protocol import Answer
from backend.refresh.tally import Tally

log = logging.getLogger(__name__)
_MOST_TAKEN = 3  # how often Label Studio may accept a batch and still not list it


@dataclass(frozen=True, slots=True)
class Writing:
    """Writes a walk's answers, and counts what becomes of their tasks.

    Attributes:
        store: the project's tasks and predictions in Label Studio.
        patience: waits out failures that pass.
        tally: the walk's counts; its version is the version written.
    """

    store: PredictionStore
    patience: Patience
    tally: Tally

    def write(self, answers: dict[int, Answer]) -> None:
        """Store the answers, by task id, until Label Studio lists them all.

        Raises:
            BadInput: Label Studio accepts the answers but does not list them.
            Upstream: Label Studio fails for longer than the patience lasts.
        """
        pauses, sent, taken = self.patience.begin(), False, 0
        while pending := self._lacking(answers, sent=sent):
            if taken == _MOST_TAKEN:  # going on would fill Label Studio with duplicates
                raise BadInput(
                    f"Label Studio accepted predictions of {self.tally.version} but does not list them: look at its log"
                )
            answers = pending
            try:
                rows = [answer.row(task_id) for task_id, answer in pending.items()]
                # Label Studio silently drops predictions that do not fit the labelling interface.
                if self.store.add(rows) < len(pending):
                    self._write_one_by_one(pending)
                taken += 1
            except BadInput as fault:
                log.info(
                    "Label Studio refused a batch, so its predictions go one by one: %s",
                    fault,
                    extra={"event": "refresh.one_by_one"},
                )
                self._write_one_by_one(pending)
            except Upstream as fault:  # Label Studio may have stored them all the same; the next look shows it
                pauses.wait(fault)
            sent = True

    def _lacking(self, answers: dict[int, Answer], *, sent: bool) -> dict[int, Answer]:
        """Return the answers that Label Studio does not have yet, and count the rest."""
        if not answers:
            return {}
        states = self.patience.ask(partial(self.store.states, list(answers)))
        there = {task_id: state for task_id, state in states.items() if self.tally.version in state.versions}
        touched = {key for key in answers if key not in there and (key not in states or states[key].touched)}
        if sent:
            self.tally.written += len(there)
        else:
            self.tally.there += len(there)
        self.tally.touched += len(touched)
        self._remove_doubles(there.values())
        return {key: answer for key, answer in answers.items() if key not in touched and key not in there}

    def _write_one_by_one(self, pending: dict[int, Answer]) -> None:
        """Store one answer a request. An answer that Label Studio refuses is counted and leaves `pending`."""
        for task_id in list(pending):
            state = self.patience.ask(partial(self.store.states, [task_id])).get(task_id)
            if state is None or state.touched or self.tally.version in state.versions:
                continue
            try:
                self.store.add_one(pending[task_id].row(task_id))
            except BadInput as fault:
                self.tally.leave_out(str(fault))
                del pending[task_id]

    def _remove_doubles(self, states: Iterable[TaskState]) -> None:
        for state in states:
            if state.stored > len(state.versions):
                remove = partial(self.store.remove_doubles, state.task_id, self.tally.version)
                self.tally.doubles += self.patience.ask(remove)
