"""Answers are what /docs says they are."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from support.queue import connect_to_nobody

from backend.live.figures import VersionFigures
from backend.server import bodies, status
from backend.server.app import create_app
from backend.settings import Settings

ANSWERS = [
    model
    for model in vars(status).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and "json_schema_extra" in model.model_config
]


@pytest.fixture
def app(tmp_path: Path, tiny_sam_dir: Path) -> FastAPI:
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    return create_app(settings, connection=connect_to_nobody(tmp_path))


@pytest.mark.parametrize("model", ANSWERS, ids=lambda model: model.__name__)
def test_an_answers_example_is_such_an_answer(model: type[BaseModel]) -> None:
    (example,) = model.model_config["json_schema_extra"]["examples"]  # type: ignore[index, call-overload]
    assert model.model_validate(example).model_dump(mode="json") == example


@pytest.mark.parametrize("model", [bodies.SetupBody, bodies.PredictBody, bodies.ProjectBody, bodies.JobBody])
def test_a_requests_example_is_such_a_request(model: type[BaseModel]) -> None:
    (example,) = model.model_config["json_schema_extra"]["examples"]  # type: ignore[index, call-overload]
    assert model.model_validate(example).model_dump(by_alias=True, exclude_unset=True) == example


def test_docs_show_the_type_of_every_json_answer(app: FastAPI) -> None:
    untyped = []
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            answers: dict[str, Any] = next(iter(operation["responses"].values())).get("content", {})
            schema = answers.get("application/json", {}).get("schema")
            if schema is not None and "$ref" not in str(schema):
                untyped.append(f"{method} {path}")
    assert untyped == []
    assert "/projects/{project_id}/status" in app.openapi()["paths"]


def test_live_figures_are_part_of_a_status_as_json() -> None:
    (example,) = status.ProjectStatus.model_config["json_schema_extra"]["examples"]  # type: ignore[index, call-overload]
    figures = VersionFigures(
        n=2,
        iou=0.9,
        boundary_iou=0.8,
        untouched=0.5,
        annotations=1,
        lead_time_s=None,
        boundary_iou_ema=0.8,
        labels={},
    )
    shown = status.ProjectStatus.model_validate(example | {"live": {"v1": figures}}).model_dump(mode="json")
    assert shown["live"]["v1"]["n"] == 2
    assert shown["live"]["v1"]["lead_time_s"] is None
