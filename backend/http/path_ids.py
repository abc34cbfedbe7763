"""The ids in a request's path, by the rule of backend.ids."""

from typing import Annotated

from fastapi import Path
from pydantic import BeforeValidator

from backend import ids
from backend.errors import BadInput


def _project_id(value: object) -> int:
    try:
        return ids.parse_project_id(value)
    except BadInput as fault:
        raise ValueError(str(fault)) from fault  # pydantic's error: the answer is the same as for any bad field


ProjectId = Annotated[int, Path(ge=1, le=ids.LARGEST_PROJECT_ID), BeforeValidator(_project_id)]
