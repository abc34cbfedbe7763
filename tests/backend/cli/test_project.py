"""`samloop connect` sets a project up for annotators and analysts, and may be repeated."""

from pathlib import Path

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.ml_backend import ml_backend

from backend.cli.project import SCORES_TAB, connect
from backend.labelstudio.api.client import LabelStudio
from backend.registry.local import LocalRegistry
from backend.work.train_after import TrainAfter


def test_connecting_twice_leaves_one_backend_one_tab_and_one_line_in_the_description(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeLabelStudio() as studio, ml_backend() as (url, _):
        client = LabelStudio(studio.url, studio.token)
        config = '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image"/></View>'
        project = int(client.create_project("coins", config, description="Coins on a table.")["id"])
        monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)

        for written in (url, url + "/"):
            connect(project, written)

        assert len(client.backends.all(project)) == 1
        assert [view["data"]["title"] for view in client.tabs.all(project)] == ["Default", SCORES_TAB]
        page = f"{url}/review/{project}"
        assert client.project(project)["description"] == f"Coins on a table.\n\nsamloop, what got tighter: {page}"
        assert page in capsys.readouterr().out
        changes = [
            request
            for request in studio.requests
            if (request.method, request.path) == ("PATCH", f"/api/projects/{project}/")
        ]
        assert len(changes) == 1, "a description that is right already is not written again"

        monkeypatch.setenv("SAMLOOP_PUBLIC_URL", "http://pages.example.com")
        connect(project, url)
        page = f"http://pages.example.com/review/{project}"
        assert client.project(project)["description"] == f"Coins on a table.\n\nsamloop, what got tighter: {page}"
        assert [backend["url"].rstrip("/") for backend in client.backends.all(project)] == [url], (
            "Label Studio's own way to it stays"
        )


def test_connecting_keeps_after_how_many_annotations_the_project_trains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with FakeLabelStudio() as studio, ml_backend() as (url, _):
        config = '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image"/></View>'
        project = int(LabelStudio(studio.url, studio.token).create_project("coins", config)["id"])
        monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
        monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
        kept = TrainAfter(LocalRegistry(tmp_path / "models").state_dir.train_after, default=0)
        connect(project, url)
        assert kept.of(project) == 0
        connect(project, url, train_after=20)
        connect(project, url)
        assert kept.of(project) == 20, "connecting again changes nothing else"


SMART = '<KeyPointLabels name="k" toName="image" smart="true"><Label value="Coin"/></KeyPointLabels>'
MASKS = '<BrushLabels name="b" toName="image"><Label value="Coin"/></BrushLabels>'
PLAIN_MASKS = MASKS.replace("<BrushLabels", '<BrushLabels smart="false"')


@pytest.mark.parametrize(
    ("tags", "lacks"),
    [
        (f'<Image name="image" value="$image"/>{MASKS}{SMART}', None),
        (f'<Image name="image" value="$image"/>{SMART}', "no control on the image can hold a mask"),
        (f'<Image name="image" value="$image"/>{PLAIN_MASKS}', "no control lets people point at objects"),
        ('<Text name="text" value="$text"/>', "the label config has no <Image> tag"),
    ],
)
def test_connecting_says_what_the_labelling_interface_lacks(
    tags: str, lacks: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeLabelStudio() as studio, ml_backend() as (url, _):
        project = int(LabelStudio(studio.url, studio.token).create_project("x", f"<View>{tags}</View>")["id"])
        monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
        connect(project, url)
    told = capsys.readouterr().err
    assert (f"before people can click: {lacks}" in told) if lacks else "before people can click" not in told
