"""Gives every untouched task one prediction of the version that is served now.

The backend computes, Label Studio stores, and the walk goes between the two. It holds at most a page of task ids, so a
project may have any number of tasks. It has no state of its own: the predictions in Label Studio show where to continue
after a kill.

If several servers share the work, the walk requests several batches at once, in threads. It only waits for others, so
one process keeps any number of encoders busy, with one listing, one rate and one count of progress.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from backend.errors import Unavailable
from backend.labelstudio.api.predictions import PredictionStore, TaskState
from backend.refresh.asking import Asking, Backend
from backend.refresh.old_predictions import delete_version
from backend.refresh.pace import Pace
from backend.refresh.patience import Patience
from backend.refresh.rules import Limits, Rules
from backend.refresh.tally import Tally
from backend.refresh.writing import Writing

log = logging.getLogger(__name__)
_MOST_RESTARTS = 50


class Moved(Exception):
    """Another version has begun to serve the project."""


class Refresh:
    """One walk over a project's tasks.

    Args:
        store: the project's tasks and predictions in Label Studio.
        backend: computes the predictions.
        rules: the settings of the refresh.
        progress: called after every batch: `progress("refreshing", version=, done=, total=)`.
        check: raises when the walk must end: it was cancelled, or another walk has taken over.
        limits: sizes and pauses.
        clock: returns the time, s.
        sleep: waits for so many seconds.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        store: PredictionStore,
        backend: Backend,
        rules: Rules,
        progress: Callable[..., None],
        check: Callable[[], None],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._backend, self._rules = store, backend, rules
        self._progress, self._check = progress, check
        self._limits, self._clock = limits or Limits(), clock
        self._patience = Patience(
            check=check,
            patience_s=rules.patience_s,
            first_pause_s=self._limits.first_pause_s,
            longest_pause_s=self._limits.longest_pause_s,
            clock=clock,
            sleep=sleep,
        )
        self._tally = Tally()
        self._pace = Pace(rules, self._limits, clock=clock)

    def run(self) -> Tally:
        """Walk until one version has covered every untouched task. Then show that version, and delete the oldest.

        Raises:
            SamloopError: Label Studio or the backend failed for longer than `patience_s`, or `check` raised.
        """
        began_s = self._clock()
        for restart in range(_MOST_RESTARTS):
            version = self._patience.ask(partial(self._backend.ask_served_version, self._store.project_id))
            self._tally = Tally(version=version, restarts=restart)
            try:
                self._walk()
            except Moved as moved:
                log.info("%s serves now: beginning again", moved, extra={"event": "refresh.superseded"})
                continue
            self._tidy()
            self._tally.seconds = round(self._clock() - began_s, 1)
            return self._tally
        raise Unavailable(f"the served version changed {_MOST_RESTARTS} times during this refresh: refresh again later")

    def _walk(self) -> None:
        tally = self._tally
        asking = Asking(
            backend=self._backend,
            store=self._store,
            patience=self._patience,
            ours=self._rules.ours,
            version=tally.version,
            label_config=str(self._patience.ask(self._store.project).get("label_config")),
        )
        after, total = 0, None
        while True:
            self._check()
            listing = partial(self._store.list_untouched, after=after, limit=self._limits.page)
            states, left = self._patience.ask(listing)
            total = left if total is None else total
            if not states:
                return
            lacking = [state for state in states if tally.version not in state.versions]
            tally.there += len(states) - len(lacking)
            work = self._one_by_one if self._rules.at_once == 1 else self._at_once
            for covered in work(self._batches(lacking), partial(self._cover, asking)):
                tally.add(covered)
                self._progress("refreshing", version=tally.version, done=tally.done, total=total)
            after = states[-1].task_id

    def _batches(self, states: Sequence[TaskState]) -> Iterator[Sequence[TaskState]]:
        """Cut a page into batches, and give one when it may begin."""
        start = 0
        while start < len(states):
            self._patience.pause(self._pace.wait_s())
            self._check()
            batch = states[start : start + self._pace.size]
            self._pace.begin(len(batch))
            yield batch
            start += len(batch)

    def _one_by_one(
        self, batches: Iterator[Sequence[TaskState]], cover: Callable[[Sequence[TaskState]], Tally]
    ) -> Iterator[Tally]:
        """Cover the batches in this thread, which a signal can end at once."""
        return map(cover, batches)

    def _at_once(
        self, batches: Iterator[Sequence[TaskState]], cover: Callable[[Sequence[TaskState]], Tally]
    ) -> Iterator[Tally]:
        """Cover `at_once` batches at a time, and give what became of them as they end."""
        crew = ThreadPoolExecutor(self._rules.at_once, thread_name_prefix="refresh")
        running: set[Future[Tally]] = set()
        try:
            for batch in batches:
                running.add(crew.submit(cover, batch))
                if len(running) == self._rules.at_once:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
        except Moved:
            wait(running)  # the walk begins again, and two must not write at once
            raise
        finally:
            # Whatever else ends the walk ends its process: nobody waits for a batch that takes a minute more.
            crew.shutdown(wait=False, cancel_futures=True)

    def _cover(self, asking: Asking, batch: Sequence[TaskState]) -> Tally:
        """Ask for a batch's predictions and store them; return what became of its tasks.

        Raises:
            Moved: another version computed the answers.
        """
        began_s, tally = self._clock(), Tally(version=asking.version)
        to_store = {}
        for task_id, answer in asking.ask(batch):
            if answer.model_version != asking.version:
                raise Moved(answer.model_version)
            if answer.why:
                tally.leave_out(answer.why)
            else:
                to_store[task_id] = answer
        Writing(self._store, self._patience, tally).write(to_store)
        self._pace.learn(len(batch), took_s=self._clock() - began_s)
        return tally

    def _tidy(self) -> None:
        """Show the version if any task has a prediction of it, and delete the predictions of our outdated versions."""
        tally, rules, store, ask = self._tally, self._rules, self._store, self._patience.ask
        shown = str(ask(store.project).get("model_version") or "")
        counts = ask(store.counts)
        if rules.flip and counts.get(tally.version) and shown != tally.version:
            ask(partial(store.show, tally.version))
            shown = tally.version
        tally.shown = shown == tally.version
        for version in rules.list_outdated(tally.version):
            if counts.get(version) and version != shown:
                tally.deleted += delete_version(version, store=store, patiently=ask)
        # Deleting any version's predictions also takes the backend's live answers off the screen.
        if tally.deleted and shown and ask(store.project).get("model_version") != shown:
            ask(partial(store.show, shown))
