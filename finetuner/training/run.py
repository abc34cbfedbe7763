"""One training from its first step to its last: tells where it is, looks at held-out objects, survives a kill."""

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

_TELL_S = 5.0
_ALONE = Processes()


class TrainingRun:
    """A method, and what it learns from. What an earlier process kept of this training in `unfinished` is taken up.

    The state is that between two steps, with the generators of random numbers in it: what follows is what would have
    followed without the kill, to the last bit (where `seconds` does not end the training: time that a kill cost is
    gone). Time that was spent before it counts.
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
        learning, looking = (partial(method.seen, embeddings=embeddings, learns=learns) for learns in (True, False))
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
        """How it went."""
        return self._curves

    def train(self) -> EndedAt:
        """Train to the end, or to where an earlier process ended it; how far that was.

        Told to leave (by anything that is no Exception) in the midst of a step, it saves the one before at once.

        Raises:
            Diverged: the training went to numbers that are none.
            BadInput: of several processes this one would train apart from the others.
        """
        ended_at = self._take_up()
        # Before the first of them may overwrite what all read.
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
        told_s, losses = time.monotonic(), []
        self._is_settled = True
        for step in self._trainer.steps():
            self._is_settled = False
            self._curves.add(step)
            if step.done < 1:
                self._look(step.step, step.done)
            goes_on = self._validate(step.step, step.done)
            goes_on = bool(self._processes.agreed(float(goes_on)))
            if not goes_on:
                self._trainer.stop()
            losses.append(step.loss)
            # Not the state of a last step: nothing follows it.
            if goes_on and self._unfinished is not None and self._unfinished.is_due():
                self._unfinished.save(self._training.number, self._state())
            now_s = time.monotonic()
            if step.is_last_of_epoch or step.step == 1 or now_s - told_s >= _TELL_S:
                self._tell(step, loss=sum(losses) / len(losses))
                told_s = now_s
            if step.is_last_of_epoch:
                losses = []
            self._is_settled = goes_on  # a training that is stopped has nothing to go on with

    def _save_at_once(self) -> None:
        """Unless the weights are half moved, or the looks at what they are now are not done: those decide what is kept.

        Then what was saved last stands.
        """
        is_counted = self._trainer.ended_at.steps == len(self._curves.steps)
        if self._unfinished is not None and self._is_settled and self._trainer.is_whole and is_counted:
            self._unfinished.save(self._training.number, self._state())

    def _end_run(self) -> EndedAt:
        # The trainer's count, not this process's steps: a kill may come after the last of them.
        mix = self._stopping.choose_mix(self._trainer.weights, config=self._training.config)
        ended_at = self._trainer.ended_at.model_copy(
            update={"resumed": self._resumed, "kept_step": self._stopping.kept_step, "mix": mix}
        )
        self._look(ended_at.steps, 1.0)
        if self._unfinished is not None:
            # A kill while it is measured, or in a later training of a cross-validation, must not cost this one again.
            tensors = {**self._trainer.weights.finished(), **self._curves.tensors()}
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
        """Go on from what was kept, if anything was; how the training ended, if it had."""
        kept = None if self._unfinished is None else self._unfinished.load(self._training.number)
        if kept is None or self._unfinished is None:
            return None
        try:
            curves = Curves.restored(kept.tensors, kept.values)
            if told := kept.values.get("ended_at"):
                ended_at = EndedAt.model_validate(told)
                self._trainer.weights.restore(kept.tensors)
                self._curves = curves
                return ended_at
            next_look, resumed = float(kept.values["next_look"]), int(kept.values["resumed"]) + 1
            self._trainer.restore(kept)
            self._stopping.restore(curves.validation, kept.values)
        except (KeyError, TypeError, ValueError) as fault:
            self._unfinished.forget(self._training.number, why=str(fault))
            return None
        self._curves, self._watcher.next_look, self._resumed = curves, next_look, resumed
        log.info("a killed training goes on after step %d", len(curves.steps), extra={"event": "training.resumed"})
        return None

    def _look(self, number: int, done: float) -> None:
        if self._watcher.is_due(done):
            self._curves.looks.append(self._watcher.look(step=number, done=done))

    def _validate(self, number: int, done: float) -> bool:
        goes_on = self._stopping.look(self._trainer.weights, step=number, done=done)
        self._curves.validation[:] = self._stopping.looks
        return goes_on

    def _tell(self, step: Step, *, loss: float) -> None:
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
    """Seed what layers draw from (their first weights, dropout, noisy gates); the trainer's own draws are its own."""
    torch.manual_seed(seed)
