"""Images that the real Label Studio keeps elsewhere: in a folder of its machine, in a bucket (signed, proxied)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes.server import Answer, FakeServer, Request
from fakes.studio_setup import StudioSetup
from PIL import Image
from support.pictures import encode_image

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.errors import ForbiddenUrl, NotFound
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.settings import Settings

pytestmark = pytest.mark.label_studio
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="c" toName="image"><Choice value="x"/></Choices></View>'
)


def png() -> bytes:
    return encode_image(Image.new("RGB", (8, 8), "teal"))


class Bucket(FakeServer):
    """As much of S3 as Label Studio asks of it; one object, `a b.png`."""

    def answer(self, request: Request) -> Answer:
        if request.path == "/bucket/a b.png":
            return Answer(200, png(), {"Content-Type": "image/png", "ETag": '"e"'})
        if request.path in {"/bucket", "/bucket/"}:
            listing = (
                b'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>1</KeyCount><Contents>'
                b"<Key>a b.png</Key><Size>9</Size></Contents></ListBucketResult>"
            )
            return Answer(200, b"" if request.method == "HEAD" else listing, {"Content-Type": "application/xml"})
        return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as bucket:
        yield bucket


@pytest.fixture
def client(label_studio: LabelStudioProcess) -> LabelStudio:
    return StudioSetup(label_studio.url, label_studio.personal_access_token())


@pytest.fixture
def project_id(client: LabelStudio) -> Iterator[int]:
    made = int(client.create_project("storages", CONFIG)["id"])
    yield made
    client.delete_project(made)


def connect(label_studio: LabelStudioProcess, kind: str, **fields: Any) -> None:
    header = {"Authorization": f"Token {label_studio.token}"}
    answer = requests.post(f"{label_studio.url}/api/storages/{kind}", json=fields, headers=header, timeout=30)
    assert answer.status_code == 201, answer.text


def task_with(client: LabelStudio, project_id: int, uri: str) -> dict[str, Any]:
    client.import_tasks(project_id, [{"data": {"image": uri}}])
    (task,) = client.tasks(project_id)
    return task


def test_a_local_file_comes_through_the_storage_and_no_other_does(
    label_studio: LabelStudioProcess, client: LabelStudio, project_id: int, local_files_root: Path
) -> None:
    folder = local_files_root / "pictures"
    folder.mkdir()
    (folder / "a b.png").write_bytes(png())
    (local_files_root / "private").mkdir()
    (local_files_root / "private" / "c.png").write_bytes(png())
    connect(label_studio, "localfiles", project=project_id, path=str(folder), use_blob_urls=True)
    source = ImageSource(settings=Settings(), label_studio=client)
    uri = "/data/local-files/?d=pictures/a%20b.png"
    assert task_with(client, project_id, uri)["data"]["image"] == uri
    assert source.fetch(uri) == source.fetch(label_studio.url + uri) == png()
    directly = ImageSource(settings=Settings(local_files_root=(local_files_root,)), label_studio=None)
    assert directly.fetch(uri) == png()
    for gone in ("pictures/gone.png", "private/c.png"):
        with pytest.raises(NotFound, match="Label Studio has no /data/local-files/"):
            source.fetch(f"/data/local-files/?d={gone}")


@pytest.mark.parametrize("presign", [True, False], ids=["signed", "proxied"])
def test_an_object_of_a_bucket_comes_by_the_tasks_resolving_address(
    label_studio: LabelStudioProcess, client: LabelStudio, project_id: int, *, bucket: Bucket, presign: bool
) -> None:
    """A 303 to a signed URL, or the bytes themselves, as the storage says."""
    connect(
        label_studio,
        "s3",
        project=project_id,
        bucket="bucket",
        s3_endpoint=bucket.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        presign=presign,
        use_blob_urls=True,
    )
    task = task_with(client, project_id, "s3://bucket/a b.png")
    allowed = ImageSource(settings=Settings(image_hosts=(f"127.0.0.1:{bucket.port}",)), label_studio=client)
    assert allowed.fetch("s3://bucket/a b.png", task_id=task["id"]) == png()
    fetched = [request for request in bucket.requests if request.path.endswith(".png")]
    assert not any(label_studio.token in str(request.headers) for request in fetched)
    assert all("Bearer" not in request.headers.get("authorization", "") for request in fetched)
    with pytest.raises(NotFound, match=r"cannot open 's3://other/a\.png' for task"):
        allowed.fetch("s3://other/a.png", task_id=task["id"])
    if presign:
        with pytest.raises(ForbiddenUrl, match="is not a public address"):
            ImageSource(settings=Settings(), label_studio=client).fetch("s3://bucket/a b.png", task_id=task["id"])
