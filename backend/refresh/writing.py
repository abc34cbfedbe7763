"""Stores a batch's predictions in Label Studio: after a look at its tasks, and before another.

- A request whose answer was lost is not sent again where its predictions are there.
- A task that was annotated, skipped, drafted or deleted meanwhile gets nothing. Label Studio cannot store a prediction
  "only if": between the last look and the write lies one request, some tenths of a second.
- A prediction that Label Studio itself asked for in that window would be a double, and is removed.
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
_MOST_TAKEN = 3  # times that a batch may be accepted and still be lacking


@dataclass(frozen=True, slots=True)
class Writing:
    """Writes the answers of one walk, and counts what becomes of their tasks.

    Attributes:
        store: what Label Studio holds.
        patience: how failures are waited out.
        tally: the walk's; its version is the one that is written.
    """

    store: PredictionStore
    patience: Patience
    tally: Tally

    def write(self, answers: dict[int, Answer]) -> None:
        """Store the answers, by task id, until none is lacking any more.

        Raises:
            BadInput: Label Studio took them and does not list them.
            Upstream: it fails for longer than the patience lasts.
        """
        pauses, sent, taken = self.patience.begin(), False, 0
        while pending := self._lacking(answers, sent=sent):
            if taken == _MOST_TAKEN:  # or it would fill Label Studio with doubles for ever
                raise BadInput(f"Label Studio took predictions of {self.tally.version} and does not list them")
            answers = pending
            try:
                rows = [answer.row(task_id) for task_id, answer in pending.items()]
                # Fewer than were sent: Label Studio leaves out in silence what does not fit the labelling config.
                if self.store.add(rows) < len(pending):
                    self._write_one_by_one(pending)
                taken += 1
            except BadInput as fault:
                log.info("a batch was refused, going on one by one: %s", fault, extra={"event": "refresh.one_by_one"})
                self._write_one_by_one(pending)
            except Upstream as fault:  # it may have stored them all the same: the next look tells
                pauses.wait(fault)
            sent = True

    def _lacking(self, answers: dict[int, Answer], *, sent: bool) -> dict[int, Answer]:
        """Those of the answers that are still to be stored; the others are counted."""
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
        """Store one answer a request where it is lacking; what Label Studio refuses is counted and leaves `pending`."""
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
