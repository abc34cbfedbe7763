"""One contract, the fake Label Studio and the real one."""

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup

from backend.labelstudio.api.client import LabelStudio

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels>'
    '<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Coin" smart="true"/></KeyPointLabels></View>'
)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.label_studio)])
def studio(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "real":
        yield request.getfixturevalue("label_studio")
    else:
        with FakeLabelStudio() as fake:
            yield fake


@pytest.fixture
def client(studio: Any) -> LabelStudio:
    return StudioSetup(studio.url, studio.token)


@pytest.fixture
def label_config() -> str:
    return CONFIG


@pytest.fixture
def project_id(client: LabelStudio) -> Iterator[int]:
    made = int(client.create_project("contract", CONFIG)["id"])
    yield made
    client.delete_project(made)
