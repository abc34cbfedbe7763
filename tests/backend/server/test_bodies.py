"""What requests carry is checked, and what Label Studio adds is let pass."""

from typing import Any

import pytest
from pydantic import ValidationError

from backend.server.bodies import MAX_TASKS, JobBody, PredictBody, ProjectBody, SetupBody


def test_fields_that_are_not_known_pass_as_label_studio_adds_some_with_every_version() -> None:
    body = SetupBody.model_validate({"project": "7.1", "schema": "<View/>", "extra_params": None})
    assert (body.label_schema, body.model_dump()["extra_params"]) == ("<View/>", None)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (PredictBody, {"tasks": {}}),
        (PredictBody, {"tasks": ["task"]}),
        (PredictBody, {"tasks": [{}] * (MAX_TASKS + 1)}),
        (PredictBody, {"tasks": [], "params": {"context": []}}),
        (SetupBody, {}),
        (ProjectBody, {"project": None}),
        (ProjectBody, {"project": 7.5}),
        (JobBody, {"job": "x" * 201}),
    ],
)
def test_a_field_of_the_wrong_kind_or_size_is_refused(model: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(fields)
