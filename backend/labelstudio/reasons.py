"""Where the editor shows why a click brought no mask: a `<TextArea name="samloop">` in the labelling interface.

Tried with Label Studio 1.23.2 in a browser: of an answer the editor reads `result` alone. It shows the text of a
`textarea` result at once, in the place of the text before; errors, messages and notes it drops (docs/label-studio.md).
"""

import uuid

from backend.errors import BadInput
from backend.labelstudio.controls.results import prediction
from backend.labelstudio.payloads import Prediction, Region
from backend.labelstudio.tags import parse_tags, read_kind

REASON_TAG = "samloop"


def write_reason(reason: str, *, label_config: str | None, model_version: str) -> Prediction | None:
    """Return a prediction without a region, of score 0, whose text the editor shows in the project's tag.

    The text becomes a part of the annotation until the next answer to a click replaces it; trainings read regions
    alone. None where the labelling interface has no such tag, or cannot be read.
    """
    shown = _write_text([reason], label_config=label_config)
    return None if shown is None else {**prediction([shown], model_version=model_version, score=0.0), "note": reason}


def clear_reason(answer: Prediction, *, label_config: str | None) -> Prediction:
    """Return the answer to a click, which also empties the project's tag of an earlier click's reason."""
    empty = _write_text([], label_config=label_config)
    return answer if empty is None else {**answer, "result": [*answer["result"], empty]}


def _write_text(text: list[str], *, label_config: str | None) -> Region | None:
    if label_config is None:
        return None
    try:
        root = parse_tags(label_config)
    except BadInput:
        return None
    tag = next((tag for tag in root.iter() if read_kind(tag) == "textarea" and tag.get("name") == REASON_TAG), None)
    if tag is None or not (shown_on := tag.get("toname", "")):
        return None
    return {
        "id": f"samloop-{uuid.uuid4().hex[:16]}",
        "from_name": REASON_TAG,
        "to_name": shown_on,
        "type": "textarea",
        "origin": "prediction",
        "value": {"text": text},
    }
