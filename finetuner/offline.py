"""Trains and measures on a Label Studio export and a folder of images, without Label Studio, queue or registry."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from backend.errors import BadInput
from backend.files.outputs import new_folder
from backend.images.folder import ImageFolder
from backend.labelstudio.export_file import read_export
from backend.labelstudio.label_config import parse_label_config
from backend.registry.checkpoint import Manifest, read_manifest, write_checkpoint
from backend.registry.figures import Evaluation, MaskFigures
from backend.sam.cleaning import Cleaned
from backend.sam.loading import find_trained
from backend.sam.predictor import Predictor, base_predictor, predictor_of
from backend.settings import Settings
from backend.settings.bounds import HEADS
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset, assemble
from finetuner.data.folds import fair_images, unseen_images
from finetuner.data.sample import Sample
from finetuner.deciding.candidate import Candidate, Served, learnt_images
from finetuner.deciding.outcome import Compared
from finetuner.measuring.comparison import comparison
from finetuner.measuring.domain import count_outside, outside_sentences
from finetuner.measuring.evaluation import Measured, measure
from finetuner.presets import config_of
from finetuner.progress import Progress, silent
from finetuner.recipe.learning import learn
from finetuner.semantic.measuring import measure_semantic, semantic_report
from finetuner.training.processes import Processes

CLICKS = 7  # corrective clicks that `samloop evaluate` measures


def train_export(  # noqa: PLR0913 - the command's options, by name
    export: Path,
    images: Path,
    out: Path,
    *,
    settings: Settings,
    method: str | None = None,
    head: str = "promptable",
    epochs: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    label_config: Path | None = None,
    progress: Progress = silent,
    processes: Processes | None = None,
) -> Manifest:
    """Train on the export, write a checkpoint with its report to the folder `out`, and return its manifest.

    The split, the recipe and the measurements are those of a project's training. Nothing is promoted, since nothing is
    served here. After a kill, the same call resumes from the states in `<out>.unfinished`.

    Args:
        export: a file that Label Studio exported as JSON.
        images: the folder with the images.
        out: the folder for the checkpoint; it must be missing or empty.
        settings: the base model and the limits of the training.
        method: the training method; the settings' if absent.
        head: "promptable", or "semantic" to train a semantic head too.
        epochs: the number of epochs, within `seconds`; if absent, the recipe's limit on decodes applies.
        seconds: the time limit; the settings' if absent.
        seed: of all random draws.
        label_config: as in `read_samples`.
        progress: receives the progress.
        processes: the processes that make the same call together; a preset's images per step are per process.

    Raises:
        BadInput: the export is unusable, the method or head is unknown, or `out` is not empty or not writable. If the
            folder fails at the end of the training, the message names the folder that has the checkpoint instead.
        NothingToLearn: there are fewer than two usable images.
        Dismissed: this process is not the first of several; only the first writes the checkpoint.
    """
    processes = processes or Processes()
    out = new_folder(out)
    if head not in HEADS:
        raise BadInput(f"head {head[:40]!r} is none of {', '.join(HEADS)}")
    config = processes.scale_images(config_of(settings), is_fixed=bool(settings.training.images_per_step))
    config = replace(config, head=head, seed=seed)
    if method is not None:
        config = replace(config, method=method)
    if epochs is not None:
        config = replace(config, epochs=epochs, decodes=None)
    if seconds is not None:
        config = replace(config, seconds=seconds)
    unfinished = out.with_name(f"{out.name}.unfinished")
    context = TrainingContext.open(
        settings,
        config=config,
        progress=progress if processes.is_first else silent,
        unfinished_in=unfinished,
        processes=processes,
    )
    samples = read_samples(export, images, label_config=label_config, settings=settings, context=context)
    candidate = learn(samples, served=Served(version=context.base.name), context=context)
    progress("publishing", folder=str(out))
    # The digest of the data, not of the weights: this checkpoint belongs to no project's sequence of versions.
    version = f"{re.sub(r'[^A-Za-z0-9._-]', '-', context.base.name)}-offline-{candidate.manifest.data_digest[:6]}"
    written = _write(candidate, out, version=version, unfinished=unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)  # states of other annotations too: nothing will use them
    return written


def _write(candidate: Candidate, out: Path, *, version: str, unfinished: Path) -> Manifest:
    """Write the checkpoint to the new folder `out`; if that fails by now, to a temporary folder."""
    manifest = replace(candidate.manifest, version=version)
    try:
        new_folder(out)
        return write_checkpoint(out, weights=candidate.weights, manifest=manifest, others=candidate.others)
    except (BadInput, OSError) as fault:
        reason = f"the checkpoint could not be written to {out} ({fault})"
        try:
            instead = Path(tempfile.mkdtemp(prefix="samloop-checkpoint-"))
            write_checkpoint(instead, weights=candidate.weights, manifest=manifest, others=candidate.others)
        except OSError:
            raise BadInput(
                f"{reason}, nor to a temporary folder: free some space and run the same command again; it resumes from "
                f"{unfinished}"
            ) from fault
        raise BadInput(f"{reason}: the whole checkpoint is in {instead}; move that folder to its place") from fault


def evaluate_export(  # noqa: PLR0913 - the command's options, by name
    export: Path,
    images: Path,
    *,
    settings: Settings,
    checkpoint: Path | None = None,
    champion: Path | None = None,
    clicks: int = CLICKS,
    label_config: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure the base model, and a checkpoint beside it, on the export's held-out images.

    Returns:
        The figures. `candidate` and `difference` are None without a checkpoint. `served` and `difference_to_served` are
        the figures of the champion, the checkpoint to beat. Images that the checkpoint has learnt from are left out, as
        are, in the comparison with the champion, those that the champion has learnt from. If that leaves too few, they
        are measured all the same, and `note` says so.

    Raises:
        BadInput: the export is none.
        BadInput: a champion without a checkpoint to compare it with.
        BadCheckpoint: a checkpoint is damaged, or of another base than SAMLOOP_MODEL.
        NothingToLearn: fewer than two usable images, so that none is held out.
    """
    if champion is not None and checkpoint is None:
        raise BadInput(f"--champion {champion} is to be compared with a checkpoint: give --checkpoint DIR too")
    context = TrainingContext.open(settings, config=config_of(settings), progress=progress)
    # Before reading the images, so that a damaged checkpoint fails at once.
    candidate, served = (
        None if folder is None else _Checkpoint.open(folder, name=name, context=context)
        for name, folder in (("candidate", checkpoint), ("served", champion))
    )
    samples = read_samples(export, images, label_config=label_config, settings=settings, context=context)
    dataset = assemble(samples, share=context.config.held_out_share, exclusions=context.exclusions)
    if candidate is None:
        plain = _measure(base_predictor(context.base), dataset.held_out, clicks=clicks, context=context)
        return Evaluation(**dict(comparison(plain, None, intervals=None)))
    return _compare(candidate, served, dataset=dataset, clicks=clicks, context=context)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A checkpoint to measure: its folder, its predictor, and the digests of the images that it has learnt from."""

    folder: Path
    predictor: Predictor
    learnt: frozenset[str]

    @classmethod
    def open(cls, folder: Path, *, name: str, context: TrainingContext) -> "_Checkpoint":
        """Load the predictor, which goes by `name` in the progress."""
        return cls(folder, predictor_of(context.base, folder, version=name), learnt_images(read_manifest(folder)))


def _compare(
    candidate: _Checkpoint, served: _Checkpoint | None, *, dataset: Dataset, clicks: int, context: TrainingContext
) -> Evaluation:
    """Measure the base, the candidate and what it must beat on held-out images that the candidate has not seen."""
    held_out, note = _unseen(dataset.held_out, learnt=candidate.learnt)
    fair, told = fair_images(held_out, served="the champion", learnt=frozenset() if served is None else served.learnt)
    compared = Compared(
        base_name=context.base.name,
        served_name="champion",
        base=_measure(base_predictor(context.base), held_out, clicks=clicks, context=context),
        candidate=_measure(candidate.predictor, held_out, clicks=clicks, context=context),
        served=None if served is None else _measure(served.predictor, held_out, clicks=clicks, context=context),
        fair_images=fair,
    )
    unseen = unseen_images(dataset.empty_held_out, learnt=candidate.learnt)
    empty = [sample for sample in dataset.empty_held_out if sample.image_sha256 in unseen]
    semantic = {
        name: _measure_semantic(checkpoint, [*held_out, *empty], context=context)
        for name, checkpoint in (("candidate", candidate), ("served", served))
        if checkpoint is not None
    }
    figures = compared.figures(context.config, calibration=candidate.predictor.calibration).with_semantic(**semantic)
    embeddings = context.embeddings.suiting(candidate.predictor)
    outside = count_outside(candidate.predictor, held_out, embedding=embeddings)
    answered = outside_sentences(outside, of=len({sample.image_sha256 for sample in held_out}))
    return Evaluation(**dict(figures), note="; ".join((*note, *told, *answered)) or None)


def _measure(
    predictor: Predictor, held_out: Sequence[Sample], *, clicks: int, context: TrainingContext
) -> tuple[Measured, ...]:
    return measure(
        Cleaned(predictor, context.config.specks_px),
        held_out,
        embedding=context.embeddings.suiting(predictor),
        clicks=clicks,
        on_image=lambda done: context.progress("evaluating", model=predictor.version, done=done, total=len(held_out)),
    )


def _measure_semantic(
    checkpoint: _Checkpoint, samples: Sequence[Sample], *, context: TrainingContext
) -> MaskFigures | None:
    """The figures of the checkpoint's semantic head, served or not; None without a head."""
    head = find_trained(context.base, checkpoint.folder).semantic
    if head is None:
        return None
    base = checkpoint.predictor.base
    found = measure_semantic(
        head,
        samples,
        base=base,
        embedding=context.embeddings.by(base),
        unlabelled=context.config.unlabelled,
    )
    report = semantic_report(found)
    return None if report is None else report.mean


def _unseen(held_out: tuple[Sample, ...], *, learnt: AbstractSet[str]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """The images that the checkpoint has not learnt from (folds.unseen_images); if none, all, with a sentence."""
    unseen = unseen_images(held_out, learnt=learnt)
    if unseen:
        return tuple(sample for sample in held_out if sample.image_sha256 in unseen), ()
    told = (
        "the checkpoint has learnt from every one of these images (it was cross-validated: its manifest holds the "
        "honest figures), so it looks better here than it is"
    )
    return held_out, (told,)


def read_samples(
    export: Path, images: Path, *, settings: Settings, context: TrainingContext, label_config: Path | None = None
) -> list[Sample]:
    """Return the annotated images of an export; what cannot be used is in `context.exclusions`.

    A task without an id is told by its number in the file, "#1" being the first. `label_config` is the project's
    labelling interface (XML), which says where in a task the images are; None: the regions and the data say.

    Raises:
        BadInput: the export is none, or the labelling interface cannot be read.
    """
    tasks = read_export(export)
    config = None if label_config is None else parse_label_config(label_config.read_text())
    context.progress("pulling", tasks=len(tasks))
    annotated = [
        image
        for number, task in enumerate(tasks, start=1)
        for image in context.read_task(_number(task, number), config=config)
    ]
    folder = ImageFolder(images, (task.image_uri for task in annotated))
    return context.samples(
        annotated,
        read=lambda task: folder.read(task.image_uri),
        max_pixels=settings.image.pixels,
    )


def _number(task: object, number: int) -> object:
    """The task with an id. Label Studio assigns ids on import, so files from converters have none."""
    if not isinstance(task, dict) or isinstance(task.get("id"), int | str):
        return task
    return {**task, "id": f"#{number}"}
