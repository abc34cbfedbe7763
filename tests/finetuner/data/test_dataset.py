"""What is refused before training, and what the digest of the data tells apart."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import encode_image

from backend.errors import NotAuthorized, NothingToLearn, SamloopError, Unavailable, Upstream
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from finetuner.config import Rules, TrainConfig
from finetuner.data.annotations import AnnotatedTask
from finetuner.data.annotators import Annotation
from finetuner.data.dataset import SampleReader, assemble, data_digest
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.folds import trainings
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.progress import silent


def _object(x: int = 2, *, label: str | None = "Disc", side: int = 5) -> LabelledMask:
    mask = np.zeros((48, 64), bool)
    mask[4 : 4 + side, x : x + side] = True
    return LabelledMask.of(mask, label=label)


def _sample(number: int, *objects: LabelledMask) -> Sample:
    digest = hashlib.sha256(bytes([number])).hexdigest()
    return Sample(
        image_sha256=digest, height_px=48, width_px=64, objects=objects or (_object(),), picture=f"{number:016x}"
    )


def _refusal(samples: Sequence[Sample]) -> str:
    exclusions = Exclusions()
    exclusions.add("a mask of fewer than 2 pixels", task=1)
    with pytest.raises(NothingToLearn, match=r"left out: 1 x a mask of fewer than 2 pixels") as told:
        assemble(samples, share=0.2, exclusions=exclusions)
    return str(told.value)


def test_too_little_is_refused_in_a_sentence_that_says_what_is_missing() -> None:
    assert _refusal([]).startswith("no usable image: a training needs at least two different images with a brush")
    assert _refusal([_sample(1)]).startswith("1 usable image: ")
    assert "annotate another" in _refusal([_sample(1)])
    assert _refusal([_sample(1)] * 3).startswith("all 3 usable images are the same file")


def test_two_different_images_are_enough() -> None:
    dataset = assemble([_sample(1), _sample(2)], share=0.2, exclusions=Exclusions())
    assert [(len(train), len(held_out)) for train, held_out in dataset.folds] == [(1, 1), (1, 1)]
    assert len(dataset.train) == len(dataset.held_out) == 2


def test_from_eight_images_on_the_sides_are_apart() -> None:
    samples = [_sample(number) for number in range(20)]
    dataset = assemble(samples, share=0.2, exclusions=Exclusions())
    assert dataset.folds == ((dataset.train, dataset.held_out),)
    assert {sample.image_sha256 for sample in dataset.held_out} == set(dataset.split.held_out)
    assert len(dataset.train) + len(dataset.held_out) == 20


def test_samples_whose_picture_is_not_known_are_unlike_any_other() -> None:
    samples = [replace(_sample(number), picture="") for number in range(5)]
    assert assemble(samples, share=0.2, exclusions=Exclusions()).split.alike == ()


@given(st.permutations(range(5)), st.permutations(range(3)))
def test_the_digest_does_not_hang_on_any_order(order: list[int], inner: list[int]) -> None:
    objects = [_object(2), _object(20), _object(40, label=None)]
    samples = [_sample(number, *objects) for number in range(5)]
    shuffled = [_sample(number, *(objects[place] for place in inner)) for number in order]
    assert data_digest(samples) == data_digest(shuffled)


EDITS: dict[str, Callable[[list[Sample]], list[Sample]]] = {
    "a task was deleted": lambda samples: samples[1:],
    "a task was added": lambda samples: [*samples, _sample(9)],
    "a second annotation of the same image": lambda samples: [*samples, samples[0]],
    "an object was deleted": lambda samples: [_sample(0, _object(2)), *samples[1:]],
    "an object was added": lambda samples: [_sample(0, _object(2), _object(20), _object(40)), *samples[1:]],
    "an object was moved by a pixel": lambda samples: [_sample(0, _object(3), _object(20)), *samples[1:]],
    "a mask was made larger": lambda samples: [_sample(0, _object(2, side=6), _object(20)), *samples[1:]],
    "a label was changed": lambda samples: [_sample(0, _object(2, label="Ring"), _object(20)), *samples[1:]],
    "a label was taken away": lambda samples: [_sample(0, _object(2, label=None), _object(20)), *samples[1:]],
    "a label named None": lambda samples: [_sample(0, _object(2, label="None"), _object(20)), *samples[1:]],
    "an image was replaced": lambda samples: [_sample(9, _object(2), _object(20)), *samples[1:]],
    "it became ground truth": lambda samples: [replace(samples[0], is_ground_truth=True), *samples[1:]],
}


def test_every_edit_and_deletion_gives_another_digest() -> None:
    samples = [_sample(0, _object(2), _object(20)), _sample(1), _sample(2)]
    digests = {data_digest(edit(samples)) for edit in EDITS.values()} | {data_digest(samples)}
    assert len(digests) == len(EDITS) + 1


class _Refusing:
    """Reads what one number names, and is refused another."""

    def __init__(self, *refused: int) -> None:
        self._refused = refused

    def __call__(self, task: AnnotatedTask) -> bytes:
        if task.task_id in self._refused:
            raise NotAuthorized("403")
        return encode_image(np.full((48, 64), task.task_id, np.uint8))


def _read(
    read: Callable[[AnnotatedTask], bytes], base: BaseModel, folder: Path, *, beside: object = None
) -> tuple[list[Sample], Exclusions]:
    """Three tasks with an ellipse, and with `beside` on the second."""
    exclusions = Exclusions()
    embeddings = Embeddings(base, disk=DiskEmbeddings(folder, max_bytes=1 << 30), max_pixels=10**6)
    reader = SampleReader(
        read=read,
        embeddings=embeddings,
        rules=Rules(),
        max_pixels=10**6,
        exclusions=exclusions,
        sleep=lambda _: None,
    )
    ellipse = {
        "type": "ellipselabels",
        "original_width": 64,
        "original_height": 48,
        "image_rotation": 0,
        "value": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "rotation": 0, "ellipselabels": ["Disc"]},
    }
    annotation = Annotation(annotation_id=1, annotator="a", regions=(ellipse,))
    tasks = [AnnotatedTask(number, f"{number}.png", (annotation,)) for number in (1, 2, 3)]
    if beside is not None:
        tasks[1] = replace(tasks[1], annotations=(replace(annotation, regions=(ellipse, beside)),))
    return reader.samples(tasks, progress=silent), exclusions


def test_an_image_that_label_studio_refuses_is_left_out_unless_it_refuses_the_first(
    tiny_base: BaseModel, tmp_path: Path
) -> None:
    """One forbidden file among many must not end a training; a key that is wrong for all must."""
    samples, exclusions = _read(_Refusing(2), tiny_base, tmp_path)
    assert [sample.task_id for sample in samples] == [1, 3]
    assert exclusions.sentence() == "1 x its image cannot be used (403)"
    with pytest.raises(NotAuthorized, match="403"):
        _read(_Refusing(1, 2, 3), tiny_base, tmp_path)


def test_an_image_with_a_region_that_became_no_object_is_not_complete(tiny_base: BaseModel, tmp_path: Path) -> None:
    """The region may show an object, and then its place is no background."""
    value = {"x": 1, "y": 1, "width": 9, "height": 9, "rotation": 0, "rectanglelabels": ["Disc"]}
    size = {"original_width": 64, "original_height": 48, "image_rotation": 0}
    rectangle = {"type": "rectanglelabels", **size, "value": value}
    choice = {"type": "choices", "value": {"choices": ["sharp"]}}
    for beside, is_complete in ((rectangle, False), (choice, True)):
        samples, _ = _read(_Refusing(), tiny_base, tmp_path, beside=beside)
        assert [sample.is_complete for sample in samples] == [True, is_complete, True]


class _Failing(_Refusing):
    """Reads what one number names, and fails of another so many times."""

    def __init__(self, number: int, *faults: SamloopError | OSError) -> None:
        super().__init__()
        self._number, self._faults = number, list(faults)

    def __call__(self, task: AnnotatedTask) -> bytes:
        if task.task_id == self._number and self._faults:
            raise self._faults.pop(0)
        return super().__call__(task)


AWAY: tuple[SamloopError | OSError, ...] = (Upstream("502"), Unavailable("away"), TimeoutError("share"))


@pytest.mark.parametrize("fault", AWAY, ids=str)
def test_an_image_that_is_away_for_a_moment_is_read_again(
    tiny_base: BaseModel, tmp_path: Path, fault: SamloopError | OSError
) -> None:
    samples, exclusions = _read(_Failing(2, fault, fault), tiny_base, tmp_path)
    assert ([sample.task_id for sample in samples], len(exclusions)) == ([1, 2, 3], 0)


@pytest.mark.parametrize("fault", AWAY, ids=str)
def test_an_image_that_stays_away_ends_the_training_as_something_to_try_again(
    tiny_base: BaseModel, tmp_path: Path, fault: SamloopError | OSError
) -> None:
    """It was left out, and a training on 3 of 5 images was published as if those were all."""
    with pytest.raises(
        Unavailable, match=f"the image of task 2 cannot be read at the moment: {fault}; samloop does not train"
    ):
        _read(_Failing(2, fault, fault, fault), tiny_base, tmp_path)


@pytest.mark.parametrize("fault", [Upstream("410", is_passing=False), FileNotFoundError("gone")], ids=str)
def test_an_image_that_is_gone_is_left_out_without_another_try(
    tiny_base: BaseModel, tmp_path: Path, fault: SamloopError | OSError
) -> None:
    samples, exclusions = _read(_Failing(2, fault), tiny_base, tmp_path)
    assert [sample.task_id for sample in samples] == [1, 3]
    assert exclusions.sentence() == f"1 x its image cannot be used ({fault})"


def test_an_image_that_may_be_gone_is_asked_for_once_more_and_then_left_out(
    tiny_base: BaseModel, tmp_path: Path
) -> None:
    """Label Studio answers 500 for an upload that is gone, and for a moment's failure."""
    fault = Upstream("500", is_passing=None)
    samples, _ = _read(_Failing(2, fault), tiny_base, tmp_path)
    assert [sample.task_id for sample in samples] == [1, 2, 3]
    samples, exclusions = _read(_Failing(2, fault, fault), tiny_base, tmp_path)
    assert ([sample.task_id for sample in samples], len(exclusions)) == ([1, 3], 1)


def test_a_cache_folder_that_is_full_ends_the_training_as_something_to_try_again(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DiskEmbeddings, "put", full)
    with pytest.raises(Unavailable, match=r"No space left on device.*: free some space and train again"):
        _read(_Refusing(), tiny_base, tmp_path)


def _empty(number: int) -> Sample:
    return replace(_sample(number), objects=())


@pytest.mark.parametrize("count", [4, 20])
def test_empty_pictures_have_two_sides_of_their_own_and_move_no_other(count: int) -> None:
    drawn = [_sample(number) for number in range(count)]
    empty = [_empty(number) for number in range(100, 120)]
    with_empty = assemble([*empty, *drawn], share=0.2, exclusions=Exclusions())
    without = assemble(drawn, share=0.2, exclusions=Exclusions())
    assert (with_empty.folds, with_empty.split) == (without.folds, without.split)
    assert len(with_empty.empty) == len(with_empty.folds)
    for train, held_out in with_empty.empty:
        assert len(train) + len(held_out) == 20
        assert held_out
    is_cross_validated = count < 8
    assert len(with_empty.empty_held_out) == (20 if is_cross_validated else len(with_empty.empty[0][1]))
    assert len(with_empty.empty_learnt) == (20 if is_cross_validated else len(with_empty.empty[0][0]))
    sides = trainings(with_empty, config=TrainConfig())
    assert sides[-1].empty_train == with_empty.empty_learnt
    assert with_empty.digest != without.digest


def test_a_copy_of_a_picture_with_objects_that_was_submitted_empty_teaches_nothing() -> None:
    dataset = assemble([*map(_sample, range(9)), _empty(3), _empty(50)], share=0.2, exclusions=Exclusions())
    assert {sample.picture for side in dataset.empty[0] for sample in side} == {f"{50:016x}"}
