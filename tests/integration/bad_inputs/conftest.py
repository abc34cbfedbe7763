"""One server for all bad inputs; it must still stand after the last."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.served import Served, data_uri, picture, serving


class Serve(Protocol):
    """Makes a server of its own, with these settings."""

    def __call__(self, folder: Path, **settings: Any) -> AbstractContextManager[Served]: ...


@pytest.fixture(scope="module")
def serve(tiny_sam_dir: Path, redis_url: str, shared_studio: FakeLabelStudio) -> Serve:
    def make(folder: Path, **settings: Any) -> AbstractContextManager[Served]:
        return serving(folder, model=tiny_sam_dir, redis_url=redis_url, studio=shared_studio, **settings)

    return make


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Images of 4 MiB at most, waited for 1 s at most; 127.0.0.1 stands for a host that the user named."""
    with serve(tmp_path_factory.mktemp("server"), image_mib=4, image_seconds=1.0) as server:
        assert server.click(data_uri(picture())).ok, "whatever loads with the first click is loaded"
        yield server
