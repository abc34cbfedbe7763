"""label-studio-ml 2.x in one file: how its API makes and asks a model, after its api.py and model.py (commit d02cedf).

2.x is not on PyPI, so CI runs this; tests/integration/test_label_studio_ml.py runs the same tests on the real one where
LABEL_STUDIO_ML_2X names the folder of its commands. It runs in the harness's environment, whose Flask it takes.
"""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, jsonify, request

_server = Flask(__name__)
_models: dict[str, Any] = {}
CACHE: dict[tuple[str, str], str] = {}
Path(os.environ.get("MODEL_DIR", "."), "x").parent.mkdir(parents=True, exist_ok=True)  # as its SQLite


class LabelStudioMLBase:
    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", "0.0.1")
        self.setup()

    def setup(self) -> None: ...

    def use_label_config(self, label_config: str) -> None:
        raise AssertionError("its own reader resolves entities")

    def set_extra_params(self, extra_params: str) -> None:
        self.set("extra_params", extra_params)

    def get(self, key: str) -> str | None:
        return CACHE.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        assert isinstance(value, str), "Value must be a string"
        CACHE[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")


def init_app(model_class: type[LabelStudioMLBase]) -> Flask:
    _models["class"] = model_class
    return _server


def exception_handler(view: Callable[[], Any]) -> Callable[[], Any]:
    def wrapped() -> Any:
        try:
            return view()
        except Exception:  # noqa: BLE001 - as theirs
            return jsonify({"result": {"traceback": traceback.format_exc()}}), 500

    wrapped.__name__ = view.__name__
    return wrapped


@_server.route("/predict", methods=["POST"])
@exception_handler
def _predict() -> Any:
    data = request.json
    project_id = str(data.get("project")).split(".", 1)[0]
    params = data.get("params", {})
    context = params.pop("context", {})
    model = _models["class"](project_id=project_id, label_config=data.get("label_config"))
    return jsonify({"results": model.predict(data.get("tasks"), context=context, **params)})


@_server.route("/setup", methods=["POST"])
@exception_handler
def _setup() -> Any:
    data = request.json
    model = _models["class"](project_id=data.get("project").split(".", 1)[0], label_config=data.get("schema"))
    if data.get("extra_params"):
        model.set_extra_params(data["extra_params"])
    return jsonify({"model_version": model.get("model_version")})


@_server.route("/webhook", methods=["POST"])
def webhook() -> Any:
    data = request.json
    event = data.pop("action")
    if event not in {"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING"}:
        return jsonify({"status": "Unknown event"}), 200
    model = _models["class"](str(data["project"]["id"]), label_config=data["project"]["label_config"])
    return jsonify({"result": model.fit(event, data), "status": "ok"}), 201


@_server.route("/health", methods=["GET"])
@exception_handler
def health() -> Any:
    return jsonify({"status": "UP", "model_class": _models["class"].__name__})
