"""Chooses the annotations of a task that count: the latest, or one per annotator for a vote."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backend.labelstudio.values import read_last_change
from finetuner.data.exclusions import Exclusions

NOT_DRAWN = frozenset(
    {"choices", "datetime", "number", "pairwise", "ranker", "rating", "relation", "taxonomy", "textarea"}
)
"""Types of results that describe the image, a region or two, and draw nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A submitted annotation. `annotator` identifies the person; `regions` is the unchanged result."""

    annotation_id: object
    annotator: str
    is_ground_truth: bool = False
    regions: tuple[object, ...] = field(repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether the annotation draws nothing: it has no result, or only choices, texts and the like."""
        return all(isinstance(region, Mapping) and str(region.get("type")) in NOT_DRAWN for region in self.regions)


def counting_annotations(
    task: Mapping[str, object], *, annotators: str, exclusions: Exclusions, empty_counts: bool = False
) -> tuple[Annotation, ...]:
    """The annotations of a task to learn from, the latest first. Skipped annotations and drafts never count.

    Args:
        task: the task as Label Studio exports it.
        annotators: "latest" chooses the annotation that was changed last, and ground truth before any other.
            "majority" chooses that annotation of every annotator; one without a region votes for no object.
        exclusions: collects the reasons for what is left out.
        empty_counts: whether annotations without a region count if nobody drew one.
    """
    submitted = list(_list_submitted(task, exclusions=exclusions))
    submitted.sort(key=_last_change, reverse=True)
    submitted.sort(key=lambda annotation: not _is_ground_truth(annotation))
    counting: dict[str, Mapping[str, object]] = {}
    for annotation in submitted:
        who = "" if annotators == "latest" else _annotator(annotation)
        if (better := counting.setdefault(who, annotation)) is not annotation:
            exclusions.add(
                _reason(annotation, better, annotators=annotators), task=task["id"], annotation=annotation.get("id")
            )
    chosen = tuple(_annotation(annotation) for annotation in counting.values())
    empty = [annotation for annotation in chosen if annotation.is_empty]
    if (annotators == "majority" and len(empty) < len(chosen)) or (empty_counts and len(empty) == len(chosen)):
        return chosen
    for blank in empty:
        exclusions.add("an annotation without any region", task=task["id"], annotation=blank.annotation_id)
    return tuple(annotation for annotation in chosen if not annotation.is_empty)


def _list_submitted(task: Mapping[str, object], *, exclusions: Exclusions) -> Iterator[Mapping[str, object]]:
    given = task.get("annotations")
    annotations = [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, Sequence) else []
    if not annotations:
        exclusions.add(_explain_none(task), task=task["id"])
    for annotation in annotations:
        if _is_marked(annotation, "was_cancelled"):
            exclusions.add("the annotator skipped the task", task=task["id"], annotation=annotation.get("id"))
        else:
            yield annotation


def _explain_none(task: Mapping[str, object]) -> str:
    if isinstance(task.get("annotations"), list) and task["annotations"]:
        return "annotations without their regions; export them in full, not their ids alone"
    return "only a draft" if task.get("drafts") else "no annotation yet"


def _last_change(annotation: Mapping[str, object]) -> tuple[float, str, str]:
    """A sort key by time. Ids break ties, as an import gives all the same time."""
    return *read_last_change(annotation), str(annotation.get("id")).zfill(20)


def _reason(left_out: Mapping[str, object], better: Mapping[str, object], *, annotators: str) -> str:
    if _is_ground_truth(better) and not _is_ground_truth(left_out):
        return "a ground-truth annotation of the same task counts"
    if annotators == "majority":
        return "a later annotation of the same task by the same annotator counts"
    return "a later annotation of the same task counts"


def _annotation(given: Mapping[str, object]) -> Annotation:
    result = given.get("result")
    return Annotation(
        annotation_id=given.get("id"),
        annotator=_annotator(given),
        is_ground_truth=_is_ground_truth(given),
        regions=tuple(result) if isinstance(result, list) else (),
    )


def _is_ground_truth(given: Mapping[str, object]) -> bool:
    return _is_marked(given, "ground_truth")


def _is_marked(given: Mapping[str, object], name: str) -> bool:
    """Whether a mark is set. Tables that files pass through write it as text, as a number, or as NaN for none."""
    return str(given.get(name)).lower() in {"true", "1", "1.0"}


def _annotator(given: Mapping[str, object]) -> str:
    """Label Studio's user id, which some exports wrap in an object; without it, the annotation's own id."""
    user = given.get("completed_by")
    if isinstance(user, Mapping):
        user = user.get("id") or user.get("email")
    return f"annotator {user}" if isinstance(user, int | str) else f"annotation {given.get('id')}"
