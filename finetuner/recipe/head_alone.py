"""Puts a new semantic head beside the served model, if the promptable decoder is not promoted."""

from dataclasses import replace

import safetensors.torch

from backend.registry.checkpoint import Manifest, read_manifest, verify_weights
from backend.registry.metrics import Recipe, Verdict
from backend.sam.loading import decoder_bytes
from backend.sam.predictor import Predictor, base_predictor
from backend.sam.semantic.head import PREFIX, with_semantic
from finetuner.context import TrainingContext
from finetuner.deciding.candidate import Candidate, Served
from finetuner.deciding.outcome import Compared
from finetuner.recipe.notes import Learnt
from finetuner.report import checkpoint_files
from finetuner.semantic.beside import Semantic


def find_kept(served: Served, *, context: TrainingContext) -> Predictor | None:
    """Return the predictor that goes on answering prompts if a candidate is not promoted.

    None if no version serves the project, or if the served version has another base than the candidate.
    """
    if not served.is_live or served.of_base is not None:
        return None
    return served.predictor or base_predictor(context.base)


def make_head_alone(
    challenger: Candidate, *, learnt: Learnt, semantic: Semantic, served: Served, context: TrainingContext
) -> Candidate:
    """Build a checkpoint that answers prompts as the served model does, and batches with the new head.

    Args:
        challenger: the candidate of the same training, which is not promoted.
        learnt: the measurements of that training.
        semantic: the head, which was trained on embeddings of the served encoder and is a gain for batches.
        served: the model that answers prompts now.
        context: of the training.
    """
    kept = served.predictor or base_predictor(context.base)
    compared = _keep_decoder(learnt.compared)
    verdict = Verdict(promote=True, reasons=(semantic.sentence, f"prompts are answered as by {served.version}"))
    manifest = _note_manifest(
        challenger.manifest, kept=kept, compared=compared, semantic=semantic, served=served, context=context
    )
    manifest = replace(manifest, verdict=verdict)
    weights = with_semantic(_read_weights(served, context=context), semantic.head)
    others = checkpoint_files(
        manifest,
        weights=weights,
        dataset=learnt.dataset,
        base=compared.base,
        candidate=compared.candidate,
        pictures=context.images_again,
        guesses=learnt.guesses,
    )
    return Candidate(weights=weights, manifest=manifest, verdict=verdict, others=others)


def _keep_decoder(compared: Compared) -> Compared:
    """Return the comparison with the served model as the candidate."""
    return replace(compared, candidate=compared.base if compared.served is None else compared.served, faults=())


def _note_manifest(  # noqa: PLR0913 - all by name
    manifest: Manifest,
    *,
    kept: Predictor,
    compared: Compared,
    semantic: Semantic,
    served: Served,
    context: TrainingContext,
) -> Manifest:
    """Return the challenger's manifest with the method, figures and scores of the served model and of the head."""
    before = None if served.folder is None else read_manifest(served.folder)
    figures = compared.figures(context.config, calibration=kept.calibration).with_semantic(candidate=semantic.mean)
    split = manifest.metrics.split
    metrics = manifest.metrics.model_copy(
        update={
            **dict(figures),
            "calibration": kept.calibration,
            "click_policy": kept.click_policy.value,
            "magnification": kept.magnification,
            "curves": None,
            "ended_at": None,
            "start": None,
            "forgetting": None if before is None else before.metrics.forgetting,
            "domain": None if before is None else before.metrics.domain,
            "semantic": semantic.metrics().model_copy(update={"is_alone": True}),
            "split": split and split.model_copy(update={"learnt": tuple(sorted({*split.learnt, *served.learnt}))}),
        }
    )
    recipe = manifest.config.to_json() | {"adapter": None if before is None else before.config.adapter}
    method = "decoder" if before is None else before.method
    if before is not None and not before.config.names_adapter:
        recipe.pop("adapter")  # a manifest from before adapters had kinds, whose method is the kind
    return replace(manifest, method=method, config=Recipe.model_validate(recipe), metrics=metrics)


def _read_weights(served: Served, *, context: TrainingContext) -> bytes:
    """Read the served decoder, and its adapter if it has one, without a head."""
    if served.folder is None:
        return decoder_bytes(context.base.model.mask_decoder)
    state = safetensors.torch.load(verify_weights(served.folder).read_bytes())
    prompted = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    return safetensors.torch.save(prompted, metadata={"format": "pt"})
