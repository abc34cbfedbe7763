"""Runs one training from its first step to its last: reports progress, measures held-out objects, survives a kill."""

import logging
import time
from functools import partial

import torch

from backend.registry.metrics import EndedAt
from finetuner.data.embeddings import Embeddings
from finetuner.data.folds import Training
from finetuner.methods.base import Method
from finetuner.progress import Progress
from finetuner.training.curves import Curves, Watcher
from finetuner.training.early_stopping import EarlyStopping, validation_part
from finetuner.training.loop import Step, Trainer
from finetuner.training.processes import Processes
from finetuner.training.replay import mix
from finetuner.unfinished import State, Unfinished

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 5.0
_ALONE = Processes()


class TrainingRun:
    """One training of a method. It resumes from the state that an earlier process saved in `unfinished`, if any.

    A state holds everything between two steps, the random generators included. A resumed training therefore gives the
    same weights, bit by bit, as one that was never killed, unless the limit in seconds ends it. Time spent before a
    kill counts towards that limit.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        method: Method,
        training: Training,
        *,
        embeddings: Embeddings,
        unfinished: Unfinished | None,
        progress: Progress,
        processes: Processes = _ALONE,
    ) -> None:
        self._training, self._unfinished, self._progress = training, unfinished, progress
        config = training.config
        learning, looking = (partial(method.embed, embeddings=embeddings, learns=learns) for learns in (True, False))
        teaching, validating = validation_part(training.train, config=config)
        visited = mix(teaching, training.replayed, share=config.replay, ground_truth_weight=config.ground_truth_weight)
        self._trainer = Trainer(method, visited, config=config, embedding=learning, processes=processes)
        self._processes = processes
        self._stopping = EarlyStopping(method, validating, config=config, embedding=looking)
        watched = training.held_out if processes.is_first else ()
        self._watcher = Watcher(method, watched, config=config, embedding=looking)
        self._curves = Curves()
        self._resumed, self._is_settled = 0, False

    @property
    def curves(self) -> Curves:
        """The losses and measurements so far."""
        return self._curves

    def train(self) -> EndedAt:
        """Train to the end and return how far that was; return at once if an earlier process finished the training.

        Interrupted by a BaseException that is no Exception (KeyboardInterrupt, SystemExit), it saves its state first.

        Raises:
            Diverged: several losses in a row were not finite.
            BadInput: of several processes, this one would train on other data than the first.
        """
        ended_at = self._take_up()
        # Before the first process may overwrite the state that all of them read.
        self._processes.must_agree(self._trainer.begins_at if ended_at is None else "ended")
        if ended_at is not None:
            return ended_at
        try:
            self._steps()
        except Exception:
            raise
        except BaseException:
            self._save_at_once()
            raise
        return self._end_run()

    def _steps(self) -> None:
        self._look(0, 0.0)
        self._validate(0, 0.0)
        reported_s, losses = time.monotonic(), []
        self._is_settled = True
        for step in self._trainer.steps():
            self._is_settled = False
            self._curves.add(step)
            if step.done < 1:
                self._look(step.step, step.done)
            goes_on = self._validate(step.step, step.done)
            goes_on = bool(self._processes.agree_on(float(goes_on)))
            if not goes_on:
                self._trainer.stop()
            losses.append(step.loss)
            # The state after the last step is useless: no step follows.
            if goes_on and self._unfinished is not None and self._unfinished.is_due():
                self._unfinished.save(self._training.number, self._state())
            now_s = time.monotonic()
            if step.is_last_of_epoch or step.step == 1 or now_s - reported_s >= _REPORT_EVERY_S:
                self._report(step, loss=sum(losses) / len(losses))
                reported_s = now_s
            if step.is_last_of_epoch:
                losses = []
            self._is_settled = goes_on  # a stopped training has no next step to save a state for

    def _save_at_once(self) -> None:
        """Save the state, unless a step or the measurements after it are incomplete: then the last saved state stands.

        The measurements choose the weights to publish, so a state without them would change the outcome.
        """
        is_counted = self._trainer.ended_at.steps == len(self._curves.steps)
        if self._unfinished is not None and self._is_settled and self._trainer.is_whole and is_counted:
            self._unfinished.save(self._training.number, self._state())

    def _end_run(self) -> EndedAt:
        # The trainer's count, not the steps of this process: a resumed training may have none left.
        mix = self._stopping.choose_mix(self._trainer.weights, config=self._training.config)
        ended_at = self._trainer.ended_at.model_copy(
            update={"resumed": self._resumed, "kept_step": self._stopping.kept_step, "mix": mix}
        )
        self._look(ended_at.steps, 1.0)
        if self._unfinished is not None:
            # A kill during the measuring, or in a later fold, must not cost this training again.
            tensors = {**self._trainer.weights.weight_tensors(), **self._curves.tensors()}
            values = {"ended_at": ended_at.to_json(), **self._curves.values()}
            self._unfinished.save(self._training.number, State(tensors=tensors, values=values))
        return ended_at

    def _state(self) -> State:
        state = self._trainer.state()
        return State(
            tensors={**state.tensors, **self._curves.tensors()},
            values={
                **state.values,
                **self._curves.values(),
                "next_look": self._watcher.next_look,
                "resumed": self._resumed,
                **self._stopping.values(),
            },
        )

    def _take_up(self) -> EndedAt | None:
        """Resume from the saved state, if there is one; how the training ended, if that state is of a finished one."""
        state = None if self._unfinished is None else self._unfinished.load(self._training.number)
        if state is None or self._unfinished is None:
            return None
        try:
            curves = Curves.restore(state.tensors, state.values)
            if end := state.values.get("ended_at"):
                ended_at = EndedAt.model_validate(end)
                self._trainer.weights.restore(state.tensors)
                self._curves = curves
                return ended_at
            next_look, resumed = float(state.values["next_look"]), int(state.values["resumed"]) + 1
            self._trainer.restore(state)
            self._stopping.restore(curves.validation, state.values)
        except (KeyError, TypeError, ValueError) as fault:
            self._unfinished.forget(self._training.number, why=str(fault))
            return None
        self._curves, self._watcher.next_look, self._resumed = curves, next_look, resumed
        log.info("resumed a killed training after step %d", len(curves.steps), extra={"event": "training.resumed"})
        return None

    def _look(self, number: int, done: float) -> None:
        if self._watcher.is_due(done):
            self._curves.looks.append(self._watcher.look(step=number, done=done))

    def _validate(self, number: int, done: float) -> bool:
        goes_on = self._stopping.look(self._trainer.weights, step=number, done=done)
        self._curves.validation[:] = self._stopping.looks
        return goes_on

    def _report(self, step: Step, *, loss: float) -> None:
        self._progress(
            "training",
            epoch=step.epoch,
            epochs=step.epochs,
            step=step.step,
            loss=loss,
            mask_loss=step.mask,
            iou_loss=step.iou,
            learning_rate=step.learning_rate,
            seconds=step.seconds,
            **self._training.how_far(done=step.done, seconds=step.seconds),
            **({"resumed": self._resumed} if self._resumed else {}),
            **self._training.figures(),
        )


def seed_all(seed: int) -> None:
    """Seed torch's generator, from which layers draw: first weights, dropout, noisy gates.

    The trainer draws from generators of its own.
    """
    torch.manual_seed(seed)
