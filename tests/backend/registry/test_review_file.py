"""The file of held-out masks comes back as it was written; a malformed file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadCheckpoint, NotFound
from backend.masks.packed import KeptMask
from backend.registry.review_file import (
    MODELS,
    PROMPTS,
    REVIEW_FILE,
    DrawnMask,
    LabelGuess,
    ReviewedObject,
    encode_review,
    hash_object,
    parse_review,
    read_review,
)

HERE = Path("here")


def _object(**changed: object) -> ReviewedObject:
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:12] = True
    human = KeptMask.of(mask)
    drawn = {
        (prompt, model): DrawnMask(
            iou=0.5, boundary_iou=0.25, over_px=3, under_px=n, score=0.9, predicted_iou=1.02, mask=human
        )
        for n, (prompt, model) in enumerate((p, m) for p in PROMPTS for m in MODELS)
    }
    fields = {
        "key": hash_object("a" * 64, "<b>", human),
        "task_id": 7,
        "image_uri": "/data/upload/1/a.png",
        "image_sha256": "a" * 64,
        "label": "<b>",
        "window": (0, 1, 15, 20),
        "human": human,
        "drawn": drawn,
    }
    return ReviewedObject(**(fields | changed))  # type: ignore[arg-type]


def test_objects_come_back_as_they_were(tmp_path: Path) -> None:
    guessed = _object(guess=LabelGuess(label="<i>", lead=-0.25))
    objects = (_object(), _object(task_id=None), _object(task_id="a"), guessed)
    (tmp_path / REVIEW_FILE).write_bytes(encode_review(objects))
    assert read_review(tmp_path) == objects


def test_a_file_from_before_labels_were_guessed_is_read() -> None:
    old = json.loads(encode_review([_object()]))
    old["format"] = 1
    del old["objects"][0]["guess"]
    assert parse_review(json.dumps(old).encode(), where=HERE) == (_object(),)


def test_an_image_that_is_its_own_address_is_not_copied_into_the_checkpoint() -> None:
    (found,) = parse_review(encode_review([_object(image_uri="data:image/png;base64," + "A" * 5000)]), where=HERE)
    assert found.image_uri is None


def test_the_key_is_that_of_the_image_the_label_and_the_humans_mask() -> None:
    human = _object().human
    assert hash_object("a" * 64, "x", human) == hash_object("a" * 64, "x", human)
    others = {hash_object("b" * 64, "x", human), hash_object("a" * 64, "y", human)}
    assert len({*others, hash_object("a" * 64, "x", human)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["objects"][0].pop("label"),
        lambda told: told["objects"][0].update(window=[0, 0, 0, 4]),
        lambda told: told["objects"][0].update(key="../../etc"),
        lambda told: told["objects"][0]["drawn"].pop("box"),
        lambda told: told["objects"][0]["drawn"]["box"]["base"].__setitem__(0, "x"),
        lambda told: told["objects"][0]["drawn"]["box"]["base"].pop(),
        lambda told: told["objects"][0].update(guess=["<i>", 1.5]),
        lambda told: told["objects"][0].update(guess="<i>"),
        lambda told: told.update(format=3),
        lambda told: told.pop("objects"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(change: object) -> None:
    told = json.loads(encode_review([_object()]))
    change(told)  # type: ignore[operator]
    with pytest.raises(BadCheckpoint, match=r"^here (cannot be read|is of format)"):
        parse_review(json.dumps(told).encode(), where=HERE)
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        parse_review(b"[" * 100_000, where=HERE)


def test_a_checkpoint_of_before_says_that_it_kept_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="was stored without its masks"):
        read_review(tmp_path)
