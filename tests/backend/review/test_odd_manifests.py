"""A manifest, or a file of held-out masks, that something else wrote gives a page or a refusal, never a bug."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from fakes.reviewed import Reviewed
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.odd_values import Place, list_places, put

from backend.registry.checkpoint import MANIFEST_FILE
from backend.registry.image_file import IMAGES_FILE
from backend.registry.local import LocalRegistry
from backend.registry.review_file import REVIEW_FILE

# The server's own threads draw the pauses of their retries from `random`, also while Hypothesis draws.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

ODD = [None, True, -1, 0, 1e308, 10**30, "", "x" * 5000, "\ud800", "<b>", [], {}, [[]], {"": None}, [None]]


class Second:
    """The project's second version, whose files a test replaces."""

    def __init__(self, made: Reviewed) -> None:
        self.root, self.name = made.settings.registry.model_dir, made.versions[1]
        self.folder = LocalRegistry(self.root).materialise(self.name)
        self.ref = self.root / "refs" / str(made.project_id) / "versions" / "000000002.json"
        self.before = self.ref.read_bytes()

    def show(self, file: str, content: object) -> Path:
        """Let the version be a copy with this content of the file, whose manifest is the one that was published."""
        data = json.dumps(content).encode()
        manifest = data if file == MANIFEST_FILE else (self.folder / MANIFEST_FILE).read_bytes()
        sha256 = hashlib.sha256(manifest).hexdigest()
        copied = self.folder.with_name(sha256 if file == MANIFEST_FILE else "f" * 64)
        shutil.copytree(self.folder, copied, copy_function=os.link)
        (copied / file).unlink()
        (copied / file).write_bytes(data)
        if file != MANIFEST_FILE:
            self.folder.rename(self.folder.with_name("aside"))
            copied.rename(self.folder)
            return self.folder
        self.ref.write_text(json.dumps({"version": self.name, "object": sha256}))
        return copied

    def restore(self, shown: Path) -> None:
        """Let the version be as it was."""
        self.ref.write_bytes(self.before)
        shutil.rmtree(shown)
        if (aside := self.folder.with_name("aside")).exists():
            aside.rename(self.folder)


def pages_of(here: str, version: str, file: str, key: str) -> list[str]:
    """The pages that show this file."""
    if file == REVIEW_FILE:
        return [f"{here}/masks?version={version}", f"{here}/masks/{version}/{key}"]
    if file == IMAGES_FILE:
        return [f"{here}/images?version={version}"]
    queries = ("versions", f"data?version={version}", f"images?version={version}", f"decide?version={version}")
    return [here, *(f"{here}/{query}" for query in queries)]


@pytest.mark.parametrize("file", [MANIFEST_FILE, REVIEW_FILE, IMAGES_FILE])
def test_no_value_makes_a_page_fail(client: TestClient, here: str, made: Reviewed, file: str) -> None:
    """Half a surrogate pair cannot be sent, and another project's manifest stood for a version of this one."""
    second = Second(made)
    content = json.loads((second.folder / file).read_bytes())
    key = json.loads((second.folder / REVIEW_FILE).read_bytes())["objects"][0]["key"]
    places = [place for place in list_places(content, most=2) if place[0] not in {"files", "version"}]

    @settings(max_examples=25, deadline=None, database=None)
    @given(place=st.sampled_from(places), odd=st.sampled_from(ODD))
    def look(place: Place, odd: object) -> None:
        shown = second.show(file, put(content, place, odd))
        try:
            for page in pages_of(here, second.name, file, key):
                assert client.get(page).status_code < 500, f"{page} with {place}={str(odd)[:40]!r}"
        finally:
            second.restore(shown)

    look()
    if file == MANIFEST_FILE:
        for place, odd in ((("created_at",), "\ud800"), (("project_id",), None), (("project_id",), 10**30)):
            look.hypothesis.inner_test(place, odd)  # type: ignore[attr-defined]  # those that once failed
