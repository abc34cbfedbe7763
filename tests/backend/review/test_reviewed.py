"""The masks of a version: whose they are, and the versions that were published without any."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.reviewed import Reviewed
from starlette.testclient import TestClient
from support.checkpoints import make_manifest
from support.review_pages import read_page

from backend.errors import NotFound
from backend.registry.local import LocalRegistry
from backend.registry.metrics import CheckpointMetrics
from backend.review.pages import Pages


def test_masks_of_another_project_are_not_shown_even_where_its_number_is_in_the_bases_name(tmp_path: Path) -> None:
    registry = LocalRegistry(tmp_path)
    manifest = make_manifest(project_id=7, base_model="tiny-p2-v3-abcdef", base_fingerprint="0" * 64)
    version = registry.publish(7, weights=b"weights", manifest=manifest).version
    nothing: Any = None
    pages = Pages(
        registry=registry,
        connections=nothing,
        flags=nothing,
        base_version=nothing,
        served_version=nothing,
        status=nothing,
        trained=nothing,
        max_pixels=1,
    )
    with pytest.raises(NotFound, match="is not a version of project 2"):
        pages.reviewed.object(2, version, "0" * 20)
    with pytest.raises(NotFound, match="was not measured on an object"):
        pages.reviewed.object(7, version, "0" * 20)


def test_a_version_of_before_says_that_it_kept_no_masks(
    made: Reviewed, client: TestClient, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every version is that was published before masks were kept."""
    registry = LocalRegistry(made.settings.registry.model_dir)
    old = registry.manifest(made.versions[0])
    weights = (registry.materialise(made.versions[0]) / "model.safetensors").read_bytes()
    manifest = registry.publish(
        78, weights=weights, manifest=replace(old, project_id=78, metrics=CheckpointMetrics(), excluded=())
    )
    assert "stored without its masks" in read_page(client, "/review/78/masks")
    assert "stored without its masks" in read_page(client, "/review/78/data")
    assert manifest.version in read_page(client, "/review/78/versions")
    assert client.get(f"{here}/masks?version={manifest.version}").status_code == 404
