"""An image comes from wherever its task points, under the policy; the key goes to Label Studio and to nobody else."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.server import Answer, FakeServer, Request

from backend.errors import BadInput, ForbiddenUrl, NotAuthorized, NotFound, SamloopError, Upstream
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.settings import Settings


class Web(FakeServer):
    """Somebody's web server: every path answers with its own name."""

    def answer(self, request: Request) -> Answer:
        return Answer(200, request.path.encode())


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as fake:
        yield fake


@pytest.fixture
def upload(studio: FakeLabelStudio) -> str:
    """The path of an uploaded image, "bytes"."""
    client = LabelStudio(studio.url, studio.token)
    project = client.create_project("x", "<View/>")["id"]
    client.import_images(project, {"a b.png": b"bytes"})
    (task,) = client.tasks(project)
    studio.requests.clear()
    return str(task["data"]["image"])


def source(studio: FakeLabelStudio | None = None, *, resolver: Any = None, **settings: Any) -> ImageSource:
    more = {} if resolver is None else {"resolver": resolver}
    client = LabelStudio(studio.url, studio.token) if studio else None
    return ImageSource(settings=Settings(**settings), label_studio=client, **more)


def test_an_upload_comes_through_the_key_by_path_and_by_url(studio: FakeLabelStudio, upload: str) -> None:
    assert source(studio).fetch(upload) == source(studio).fetch(studio.url + upload) == b"bytes"
    assert {request.headers["authorization"] for request in studio.requests} == {f"Token {studio.token}"}


@pytest.mark.parametrize("public", ["http://localhost:8080", "https://labels.example/studio/"])
def test_an_upload_named_as_browsers_know_label_studio_is_asked_where_the_server_reaches_it(
    studio: FakeLabelStudio, upload: str, public: str
) -> None:
    """Tasks hold http://localhost:8080/data/upload/..., which nobody else could resolve, and which sees no key."""
    address = public.rstrip("/") + upload
    client = LabelStudio(studio.url, studio.token, public_url=public)
    assert ImageSource(settings=Settings(), label_studio=client).fetch(address) == b"bytes"
    plain = LabelStudio(studio.url, studio.token)
    assert ImageSource(settings=Settings(), label_studio=plain, further_urls=[public]).fetch(address) == b"bytes"
    assert {request.headers["authorization"] for request in studio.requests} == {f"Token {studio.token}"}


def test_another_place_of_the_public_host_is_not_label_studios(studio: FakeLabelStudio) -> None:
    client = LabelStudio(studio.url, studio.token, public_url="http://127.0.0.1:9")
    with pytest.raises(ForbiddenUrl, match="not a public address"):
        ImageSource(settings=Settings(), label_studio=client).fetch("http://127.0.0.1:9/pictures/a.png")
    assert studio.requests == []


def test_blanks_around_an_address_are_cut_off(studio: FakeLabelStudio, upload: str) -> None:
    for address in (f" {upload}", f"{upload} \n", f"\t{studio.url}{upload} "):
        assert source(studio).fetch(address) == b"bytes"


@pytest.mark.parametrize("path", ["set%5Cw1.png", "set\\w1.png"])
def test_a_path_of_windows_is_the_file_below_the_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "w1.png").write_bytes(b"disk")
    assert source(local_files_root=(tmp_path,)).fetch(f"/data/local-files/?d={path}") == b"disk"


@pytest.mark.parametrize("path", ["set%5Cw1.png", "set\\w1.png"])
def test_a_path_of_windows_is_passed_on_where_no_root_is_set(studio: FakeLabelStudio, path: str) -> None:
    with pytest.raises(NotFound):
        source(studio).fetch(f"/data/local-files/?d={path}")
    (request,) = studio.requests
    assert request.query == {"d": ["set\\w1.png"]}


@pytest.mark.parametrize(
    "address", ["http:\\\\HOST\\data\\local-files\\?d=set\\w1.png", "\\data\\local-files\\?d=/set/w1.png"]
)
def test_an_address_with_backslashes_is_read_as_browsers_read_it(
    studio: FakeLabelStudio, tmp_path: Path, address: str
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "w1.png").write_bytes(b"disk")
    images = source(studio, local_files_root=(tmp_path,))
    assert images.fetch(address.replace("HOST", studio.url.removeprefix("http://"))) == b"disk"


@pytest.mark.parametrize("public", ["https://labels.example/label-studio", "https://labels.example/label-studio/"])
def test_behind_a_proxy_a_task_holds_the_path_that_browsers_use(
    studio: FakeLabelStudio, upload: str, public: str
) -> None:
    """label-studio-sdk#575: /label-studio/data/upload/4/3b051792-frame_000100.png."""
    plain, told = LabelStudio(studio.url, studio.token), LabelStudio(studio.url, studio.token, public_url=public)
    for images in (
        ImageSource(settings=Settings(), label_studio=told),
        ImageSource(settings=Settings(), label_studio=plain, further_urls=[public]),
    ):
        for address in (f"/label-studio{upload}", f"http://labels.example/label-studio{upload}"):
            assert images.fetch(address) == b"bytes"
    with pytest.raises(ForbiddenUrl, match="not a path under which Label Studio stores images: uploads are below"):
        source(studio).fetch(f"/label-studio{upload}")


def test_an_address_without_a_scheme_has_label_studios(web: Web) -> None:
    host = web.url.removeprefix("http://")
    images = ImageSource(settings=Settings(image_hosts=(host,)), label_studio=LabelStudio("http://127.0.0.1:9", "key"))
    assert images.fetch(f"//{host}/a.png") == b"/a.png"


@pytest.mark.parametrize("address", ["C:\\set\\a.png", "C:/set/a.png", "\\\\server\\set\\a.png", "file:///set/a.png"])
def test_a_path_on_somebodys_disk_is_refused_with_the_next_step(address: str) -> None:
    with pytest.raises(
        ForbiddenUrl, match=r"is a path on a disk, .* upload the image to Label Studio, or add its folder"
    ):
        source().fetch(address)


def test_local_files_come_through_label_studio_where_no_root_is_set(studio: FakeLabelStudio) -> None:
    studio.local_files["sub/a.png"] = b"through"
    assert source(studio).fetch("/data/local-files/?d=sub/a.png") == b"through"


def test_local_files_come_from_the_disk_where_a_root_is_set(studio: FakeLabelStudio, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"disk")
    images = source(studio, local_files_root=(tmp_path,))
    for uri in ("/data/local-files/?d=a.png", f"{studio.url}/data/local-files/?d=a.png", "/data/local-files?d=a.png"):
        assert images.fetch(uri) == b"disk"
    assert studio.requests == []
    assert source(local_files_root=(tmp_path,)).fetch("/data/local-files/?d=a.png") == b"disk"


def test_a_local_file_that_no_root_has_is_asked_of_label_studio(studio: FakeLabelStudio, tmp_path: Path) -> None:
    """Label Studio may have several local storages, of which this machine sees some."""
    studio.local_files["other/a.png"] = b"through"
    images = source(studio, local_files_root=(tmp_path,))
    assert images.fetch("/data/local-files/?d=other/a.png") == b"through"
    for answers in ({}, {"status": 403}):
        if answers:
            studio.fail("/data/local-files/", **answers)
        with pytest.raises(NotFound, match=r"no file 'gone\.png' below"):
            images.fetch("/data/local-files/?d=gone.png")
    with pytest.raises(NotFound, match=r"no file 'gone\.png' below"):
        source(local_files_root=(tmp_path,)).fetch("/data/local-files/?d=gone.png")


@pytest.mark.parametrize(
    "query",
    ["d=../../etc/passwd", "d=%2e%2e/etc/passwd", "d=%252e%252e%252fetc", "d=a&d=b", "d=a%00", "d=..%5cetc", ""],
)
@pytest.mark.parametrize("with_root", [True, False])
def test_a_local_file_that_climbs_is_refused_before_anybody_is_asked(
    studio: FakeLabelStudio, tmp_path: Path, query: str, with_root: bool
) -> None:
    with pytest.raises(BadInput, match=r"climbs|needs exactly one d=path"):
        source(studio, local_files_root=(tmp_path,) if with_root else ()).fetch(f"/data/local-files/?{query}")
    assert studio.requests == []


def test_a_local_file_without_a_root_and_a_label_studio_is_refused_with_the_next_step() -> None:
    with pytest.raises(BadInput, match="set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        source().fetch("/data/local-files/?d=etc/passwd")


@pytest.mark.parametrize("path", ["/api/projects/", "/user/login/", "/logout", "/", "/database/x", "/data/../api/x"])
def test_other_places_of_label_studio_are_never_asked_with_its_key(studio: FakeLabelStudio, path: str) -> None:
    with pytest.raises(ForbiddenUrl, match=r"not a path under which Label Studio stores images|climbs"):
        source(studio).fetch(path)
    assert studio.requests == []


def test_a_label_studio_below_a_path_keeps_it(studio: FakeLabelStudio, upload: str) -> None:
    studio.fail("/studio/data/upload/1/a.png", status=200, body=b"below", times=2)
    images = ImageSource(settings=Settings(), label_studio=LabelStudio(f"{studio.url}/studio", studio.token))
    assert images.fetch("/studio/data/upload/1/a.png") == images.fetch("/data/upload/1/a.png") == b"below"


def test_the_key_does_not_go_to_another_port_of_label_studios_host(studio: FakeLabelStudio, web: Web) -> None:
    with pytest.raises(ForbiddenUrl, match="not a public address"):
        source(studio).fetch(f"{web.url}/data/upload/1/a.png")
    assert web.requests == []
    allowed = source(studio, image_hosts=(f"127.0.0.1:{web.port}",))
    assert allowed.fetch(f"{web.url}/data/upload/1/a.png") == b"/data/upload/1/a.png"
    assert "authorization" not in web.requests[0].headers


def test_user_info_does_not_make_another_host_label_studio(studio: FakeLabelStudio) -> None:
    for url in (f"http://user:pw@127.0.0.1:{studio.port}/data/x", f"{studio.url}@evil.example/data/upload/1/a.png"):
        with pytest.raises(ForbiddenUrl, match="user name or password"):
            source(studio).fetch(url)
    assert studio.requests == []


def test_a_bucket_is_resolved_by_label_studio_and_read_without_its_key(studio: FakeLabelStudio, web: Web) -> None:
    studio.buckets["s3://bucket/ä.png"] = f"{web.url}/signed.png?sig=1"
    images = source(studio, image_hosts=("127.0.0.1",))
    assert images.fetch("s3://bucket/ä.png", task_id=7) == b"/signed.png"
    assert studio.requests[-1].path == "/tasks/7/resolve/"
    assert "authorization" not in web.requests[0].headers
    with pytest.raises(ForbiddenUrl, match="not a public address"):
        source(studio).fetch("s3://bucket/ä.png", task_id=7)
    with pytest.raises(BadInput, match=r"'s3://bucket/a\.png' is in a bucket, .* by a task's id: send the task's id"):
        source(studio).fetch("s3://bucket/a.png")


@pytest.mark.parametrize("uri", ["s3://bucket/a.png", "gs://bucket/a b.png", "azure-blob://container/ä.png"])
def test_a_bucket_that_label_studio_reads_for_us_is_read(studio: FakeLabelStudio, uri: str) -> None:
    """Where its storage says "proxy" instead of "pre-signed URLs"."""
    studio.buckets[uri] = b"proxied"
    assert source(studio).fetch(uri, task_id=7) == b"proxied"


def test_a_bucket_that_label_studio_cannot_open_is_named(studio: FakeLabelStudio) -> None:
    with pytest.raises(NotFound, match=r"cannot open 's3://gone/a\.png' for task 7: is the storage still connected"):
        source(studio).fetch("s3://gone/a.png", task_id=7)
    studio.fail("/tasks/", status=424, body={"error": "Storage stream failed while proxying data"})
    with pytest.raises(Upstream, match=r"Label Studio answered 424 for /tasks/7/resolve/$"):
        source(studio).fetch("s3://gone/a.png", task_id=7)


def test_a_task_may_hold_the_resolving_address_itself(studio: FakeLabelStudio) -> None:
    """As its API gives tasks out; `presign` is the older name."""
    studio.buckets["s3://b/a.png"] = b"resolved"
    query = "fileuri=" + base64.urlsafe_b64encode(b"s3://b/a.png").decode()
    assert source(studio).fetch(f"/tasks/7/resolve/?{query}") == b"resolved"
    for path in ("/tasks/7/presign/", "/projects/3/resolve/", "/projects/3/presign/"):
        with pytest.raises(NotFound, match=f"Label Studio has no {path}"):
            source(studio).fetch(f"{path}?{query}")
    for path in ("/tasks/7/", "/projects/3/data", "/tasks/x/resolve/"):
        with pytest.raises(ForbiddenUrl, match="not a path under which Label Studio stores images"):
            source(studio).fetch(f"{path}?{query}")


def test_every_redirect_is_checked_again(studio: FakeLabelStudio, web: Web) -> None:
    images = source(studio, image_hosts=(f"127.0.0.1:{web.port}",))
    web.fail("/a.png", status=302, Location="/b.png")
    assert images.fetch(f"{web.url}/a.png") == b"/b.png"
    for elsewhere in (f"{studio.url}/data/upload/1/x.png", "http://169.254.169.254/", "file:///etc/passwd"):
        web.fail("/evil.png", status=302, Location=elsewhere)
        with pytest.raises(ForbiddenUrl, match=r"not a public address|http or https"):
            images.fetch(f"{web.url}/evil.png")
    web.fail("/loop.png", status=302, times=99, Location="/loop.png")
    with pytest.raises(Upstream, match="redirects over 5 times"):
        images.fetch(f"{web.url}/loop.png")
    assert studio.requests == []


def test_a_name_that_turns_to_loopback_after_the_check_is_not_followed(web: Web) -> None:
    """Rebinding: the name is public when it is looked up first; only that address is connected to."""
    answers = iter([("192.0.2.1",), ("127.0.0.1",)])
    asked = []

    def resolver(host: str, port: int) -> tuple[str, ...]:
        asked.append((host, port))
        return next(answers)

    images = source(resolver=resolver, image_hosts=("rebind.example",), image_seconds=0.3)
    with pytest.raises(Upstream, match=r"rebind\.example"):
        images.fetch(f"http://rebind.example:{web.port}/a.png")
    assert asked == [("rebind.example", web.port)]
    assert web.requests == []


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("file:///etc/passwd", ForbiddenUrl),
        ("ftp://example.org/a", ForbiddenUrl),
        ("gopher://example.org/a", ForbiddenUrl),
        ("//169.254.169.254/", ForbiddenUrl),
        ("http://169.254.169.254/", ForbiddenUrl),
        ("http://[::ffff:127.0.0.1]/", ForbiddenUrl),
        ("http://2130706433/", ForbiddenUrl),
        ("http://0/", ForbiddenUrl),
        ("", BadInput),
        ("a.png", BadInput),
        ("C:\\images\\a.png", BadInput),
        ("http://", BadInput),
        ("/data/upload/" + "a" * 9000, BadInput),
        ("s3://bucket/" + "a" * 9000, BadInput),
    ],
)
def test_an_address_of_another_kind_is_refused(studio: FakeLabelStudio, uri: str, kind: type[SamloopError]) -> None:
    with pytest.raises(kind):
        source(studio).fetch(uri)
    assert studio.requests == []


def test_what_the_host_answers_is_told(web: Web) -> None:
    images = source(image_hosts=("127.0.0.1",), image_mib=1)
    web.fail("/gone.png", status=404)
    with pytest.raises(NotFound, match=r"127\.0\.0\.1 has no /gone\.png"):
        images.fetch(f"{web.url}/gone.png?secret=1")
    web.fail("/broken.png", status=500)
    with pytest.raises(Upstream, match=r"answered 500 for /broken\.png"):
        images.fetch(f"{web.url}/broken.png")
    web.fail("/large.png", status=200, body=bytes((1 << 20) + 1))
    with pytest.raises(BadInput, match="more than 1048576 bytes"):
        images.fetch(f"{web.url}/large.png")


@pytest.mark.parametrize(
    ("status", "kind", "complaint"),
    [
        (401, NotAuthorized, "LABEL_STUDIO_API_KEY"),
        (403, NotAuthorized, "LABEL_STUDIO_API_KEY"),
        (404, NotFound, "has no /data/upload/1/x"),
        (500, Upstream, "an upload that is gone"),
    ],
)
def test_what_label_studio_answers_is_told(
    studio: FakeLabelStudio, status: int, kind: type[SamloopError], complaint: str
) -> None:
    studio.fail("/data/", status=status)
    with pytest.raises(kind, match=complaint):
        source(studio).fetch("/data/upload/1/x.png?token=secret")


def test_a_label_studio_that_hangs_is_given_up_after_the_limit(studio: FakeLabelStudio) -> None:
    studio.fail("/data/", status=200, body=b"x", **{"Content-Length": "500"})
    began = time.monotonic()
    with pytest.raises(Upstream, match="took longer than SAMLOOP_IMAGE_SECONDS"):
        source(studio, image_seconds=0.3).fetch("/data/upload/1/x.png")
    assert time.monotonic() - began < 60


def test_a_data_uri_is_decoded_within_the_limit() -> None:
    encoded = base64.b64encode(b"bytes").decode()
    assert source().fetch(f"data:image/png;base64,{encoded}") == b"bytes"
    assert source().fetch(f"DATA:image/png;BASE64,{encoded}") == b"bytes"
    assert source().fetch(f"data:image/png;base64,{encoded.rstrip('=')}") == b"bytes", "browsers forgive the padding"
    assert source().fetch("data:,a%20b") == b"a b", "percent-encoded"


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("data:image/png;base64", "has no data"),
        ("data:image/png;base64,!!!!", "not valid base64"),
        ("data:image/png;base64,A", "not valid base64"),
        ("data:image/png;base64,é", "not valid base64"),
        ("data:image/png;base64," + "A" * 3_000_000, "more than 1048576 bytes"),
    ],
)
def test_a_data_uri_that_is_none_or_too_long_is_refused(uri: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        source(image_mib=1).fetch(uri)


def test_the_name_tells_sources_apart_without_the_key(studio: FakeLabelStudio) -> None:
    assert source(studio).name != source().name
    assert studio.token not in source(studio).name


@pytest.mark.parametrize(("status", "passes"), [(500, True), (503, True), (429, True), (403, False), (451, False)])
def test_a_host_that_fails_may_be_asked_again_and_a_host_that_refuses_not(web: Web, status: int, passes: bool) -> None:
    web.fail("/image.png", status=status)
    with pytest.raises(Upstream) as told:
        source(image_hosts=("127.0.0.1",)).fetch(f"{web.url}/image.png")
    assert told.value.is_passing is passes
