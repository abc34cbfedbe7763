"""Holds what every step of a training uses: the base model, embeddings, the recipe, and the folder for states."""

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.labelstudio.label_config import LabelConfig
from backend.registry.checkpoint import MANIFEST_FILE, read_manifest
from backend.registry.state import ONE_DISK, Sharing
from backend.sam.cleaning import Cleaned
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Predictor
from backend.sam.weights import find_path
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.data.annotations import AnnotatedTask, read_images
from finetuner.data.dataset import SampleReader, data_digest
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.sample import Sample
from finetuner.deciding.candidate import learnt_images
from finetuner.measuring.evaluation import Measured, measure
from finetuner.methods import choose_method
from finetuner.progress import Progress
from finetuner.report.pictures import ImagesAgain
from finetuner.training.processes import Processes
from finetuner.unfinished import Unfinished, run_key

_LAYOUT = 3  # of a saved state; increase it when the program can no longer resume from older states
QUICK_ON_A_CPU = 20_000_000  # parameters of an encoder: above those of mobile-sam and edgetam, below those of a ViT


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext:
    """What every step of a training uses.

    Attributes:
        base: the base model.
        embeddings: the base's embeddings.
        config: the recipe.
        exclusions: collects the reasons for what is left out.
        progress: receives the progress.
        images_again: reads images again for the report.
        unfinished_in: the folder for saved states; None saves none.
        sharing: brings the saved states to the machines of other workers.
        save_every_s: the seconds between two saved states.
        generic_in: the cache folder for the base's masks of unrelated photographs (generic).
        base_learnt: digests of the images that the base has learnt from, if it is a checkpoint itself.
        processes: the processes that train together.
    """

    base: BaseModel
    embeddings: Embeddings
    config: TrainConfig
    exclusions: Exclusions
    progress: Progress
    images_again: ImagesAgain = field(default_factory=ImagesAgain)
    unfinished_in: Path | None = None
    sharing: Sharing = ONE_DISK
    save_every_s: float = 0.0
    generic_in: Path | None = None
    base_learnt: frozenset[str] = frozenset()
    processes: Processes = field(default_factory=Processes)

    @classmethod
    def open(  # noqa: PLR0913 - all but one by name
        cls,
        settings: Settings,
        *,
        config: TrainConfig,
        progress: Progress,
        unfinished_in: Path | None = None,
        sharing: Sharing = ONE_DISK,
        processes: Processes | None = None,
    ) -> "TrainingContext":
        """Load the base model.

        Raises:
            BadWeights: its weights cannot be fetched or read.
        """
        base = load_base(
            settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
        )
        return cls(
            base=base,
            embeddings=Embeddings(base, disk=DiskEmbeddings.of(settings), max_pixels=settings.image.pixels),
            config=replace(
                config,
                method=choose_method(config.method, base, seconds=config.promptable_seconds),
                views=1 if config.views is None and not _encodes_soon(base) else config.views,
            ),
            exclusions=Exclusions(),
            progress=progress,
            unfinished_in=unfinished_in,
            sharing=sharing,
            save_every_s=settings.training.save_seconds,
            generic_in=settings.cache.dir / "generic",
            base_learnt=_learnt_by(settings.sam.model),
            processes=processes or Processes(),
        )

    def open_unfinished(self, samples: Sequence[Sample], *, served: str) -> Unfinished | None:
        """The saved states of a training on these samples, from this process or an earlier one; None to save none.

        The key covers everything that decides the outcome, so a training never resumes from another training's state.
        """
        if self.unfinished_in is None or not self.save_every_s:
            return None
        facts = {
            "config": self.config.to_json(),
            "data": data_digest(samples),
            "base": self.base.fingerprint,
            "encoder": self.base.encoder_fingerprint,
            "device": self.base.device.type,
            "served": served,
            "processes": self.processes.count,
            "code": [importlib.metadata.version(name) for name in ("samloop", "torch", "numpy")],
            "layout": _LAYOUT,
            # The digest of the data ignores the order, but the trainer's random draws depend on it.
            "order": [
                [sample.image_sha256, *((item.bounds.y0_px, item.bounds.x0_px) for item in sample.objects)]
                for sample in samples
            ],
        }
        return Unfinished(
            self.unfinished_in,
            key=run_key(facts),
            every_s=self.save_every_s,
            writes=self.processes.is_first,
            sharing=self.sharing,
        )

    def measure(self, predictor: Predictor, samples: Sequence[Sample], *, who: str) -> tuple[Measured, ...]:
        """Measure a model on these samples, masks as annotators see them; `who` is its name in the progress."""
        return measure(
            Cleaned(predictor, self.config.specks_px),
            samples,
            embedding=self.embeddings.suiting(predictor),
            clicks=self.config.evaluation_clicks,
            on_image=lambda done: self.progress("evaluating", model=who, done=done, total=len(samples)),
        )

    def read_task(self, task: object, *, config: LabelConfig | None) -> list[AnnotatedTask]:
        """Read every image of a task, as annotations.read_images; none if it has no usable annotation."""
        return read_images(
            task,
            config=config,
            exclusions=self.exclusions,
            annotators=self.config.annotators,
            empty_counts=self.config.empty_is_background,
        )

    def samples(
        self,
        tasks: Iterable[AnnotatedTask],
        *,
        read: Callable[[AnnotatedTask], bytes],
        label_config: LabelConfig | None = None,
        max_pixels: int,
    ) -> list[Sample]:
        """Read the tasks' images and objects into samples.

        Args:
            tasks: the annotated images.
            read: returns the bytes of a task's image.
            label_config: the labelling interface, whose labels count; None allows every label.
            max_pixels: larger images are refused.
        """

        def read_remembered(task: AnnotatedTask) -> bytes:
            data = read(task)
            bare = replace(task, annotations=())  # saves memory: the samples have the annotations already
            self.images_again.remember(data, read=lambda: read(bare), max_pixels=max_pixels)
            return data

        reader = SampleReader(
            read=read_remembered,
            embeddings=self.embeddings,
            rules=self.config.rules(label_config),
            max_pixels=max_pixels,
            exclusions=self.exclusions,
        )
        return reader.samples(tasks, progress=self.progress)


def _encodes_soon(base: BaseModel) -> bool:
    """Whether views of all images are encoded in a small part of a training; a CPU takes seconds an image by a ViT."""
    parameters = sum(weight.numel() for weight in base.model.vision_encoder.parameters())
    return base.device.type != "cpu" or parameters <= QUICK_ON_A_CPU


def _learnt_by(model: str | None) -> frozenset[str]:
    folder = find_path(model) if model else None
    is_checkpoint = folder is not None and (folder / MANIFEST_FILE).is_file()
    return learnt_images(read_manifest(folder)) if folder is not None and is_checkpoint else frozenset()
