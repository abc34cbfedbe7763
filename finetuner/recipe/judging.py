"""Measures base, served model and candidate on the same held-out objects, and calibrates the candidate's scores."""

from backend.registry.calibration import Calibration
from backend.sam.cleaning import Cleaned
from backend.sam.predictor import Predictor, base_predictor
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset
from finetuner.data.folds import fair_images
from finetuner.deciding.candidate import Served
from finetuner.deciding.outcome import Compared, calibrate
from finetuner.deciding.smoke import faults
from finetuner.measuring.comparison import differences
from finetuner.measuring.domain import outside_sentences
from finetuner.measuring.magnification import magnification_sentences
from finetuner.recipe.trained import Trained
from finetuner.training.early_stopping import validation_part


def compare(trained: Trained, *, dataset: Dataset, served: Served, context: TrainingContext) -> Compared:
    """Measure base and served model on the held-out images, on which the trainings measured the candidate.

    Args:
        trained: the candidate with its measurements.
        dataset: provides the held-out images.
        served: the model that the candidate must beat.
        context: receives the progress and the candidate's gain over the base.
    """
    config, plain, held_out = context.config, base_predictor(context.base), dataset.held_out
    images, sentences = fair_images(held_out, served=served.version, learnt=served.learnt)
    compared = Compared(
        base_name="the base model",
        served_name=served.version,
        base=context.measure(plain, held_out, who="base"),
        candidate=trained.measured,
        served=None if served.predictor is None else context.measure(served.predictor, held_out, who="served"),
        faults=faults(trained.predictor, base=plain, weights=trained.method.trainable()),
        fair_images=images,
        follows_first=served.is_first,
        notes=(
            *_notes(dataset, served=served, base_learnt=context.base_learnt),
            *outside_sentences(trained.outside, of=len({sample.image_sha256 for sample in held_out})),
            *magnification_sentences(trained.predictor.magnification),
            *sentences,
        ),
    )
    gains = differences(compared.base, compared.candidate, rounds=config.bootstrap_rounds, seed=config.seed)
    context.progress(
        "evaluating",
        **{
            f"{prompt}_{metric}_gain": interval.mean
            for prompt, intervals in gains.items()
            for metric, interval in intervals.items()
        },
    )
    return compared


def fit_calibration(predictor: Predictor, dataset: Dataset, *, context: TrainingContext) -> Calibration | None:
    """Fit the calibration on validation images if they have enough objects, else on training images, if those do."""
    _, validating = validation_part(dataset.train, config=context.config)
    embedding, cleaned = context.embeddings.suiting(predictor), Cleaned(predictor, context.config.specks_px)
    calibration = calibrate(cleaned, validating, embedding=embedding) if validating else None
    return calibration or calibrate(cleaned, dataset.train, embedding=embedding)


def _notes(dataset: Dataset, *, served: Served, base_learnt: frozenset[str]) -> list[str]:
    """Sentences on how the held-out images were chosen, whom they favour, and what is compared."""
    notes = [dataset.split.describe()] if dataset.split.is_cross_validated else []
    if served.of_base is not None:
        notes.append(f"{served.version} was trained on another base, {served.of_base} and is measured on it")
    known = len({sample.image_sha256 for sample in dataset.held_out} & base_learnt)
    if known:
        notes.append(f"the base has learnt from {known} of these images, which favours it and the candidate")
    return notes
