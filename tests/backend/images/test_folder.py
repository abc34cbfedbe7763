"""Which file of a folder a task's address names."""

import base64
from pathlib import Path

import pytest

from backend.errors import BadInput, NotFound
from backend.images.folder import ImageFolder, find_image

KEY = base64.urlsafe_b64encode(b"s3://bucket/k/a.png").decode()


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize(
    "uri",
    [
        "/data/upload/1/a.png",
        "/data/upload/1/0123abcd-a.png",
        "a.png",
        " a.png ",
        "/data/local-files/?d=x/y/a.png",
        "/data/local-files/?d=x%5Cy%5Ca.png",
        "/data/local-files/?d=..%2F..%2Fa.png",
        "https://h/p/a.png?token=1",
        "//h/p/a.png?token=1#top",
        "s3://bucket/k/a.png",
        "x\\a.png",
        "C:\\pictures\\a.png",
        "\\\\server\\share\\a.png",
        "file:///C:/pictures/a.png",
        f"/tasks/1/resolve/?fileuri={KEY}",
    ],
)
def test_an_image_is_found_by_its_name_where_the_folder_has_no_folders(uri: str, tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    assert find_image(tmp_path, uri) == tmp_path / "a.png"


@pytest.mark.parametrize("uri", ["/data/upload/1/b.png", "..", "", "/x/..%2f..", "a%00.png", ".", "s3://bucket/"])
def test_a_file_that_is_not_in_the_folder_is_named(uri: str, tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    with pytest.raises(NotFound, match="no file"):
        find_image(tmp_path, uri)


def test_a_name_that_no_disk_can_hold_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        find_image(tmp_path, "/data/upload/1/" + "a" * 5000)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/x/scan #1.png", "scan #1.png"),
        ("gs://b/x/why?.png", "why?.png"),
        ("azure-blob://b/x/a%20b.png", "a%20b.png"),
        ("s3://b/x/+ä&=.png", "+ä&=.png"),
        ("/data/local-files/?d=x/50%2520off.png", "50%20off.png"),
        ("/data/local-files/?d=x/scan%20%231.png", "scan #1.png"),
        ("/data/upload/1/a%20b.png", "a b.png"),
        ("https://h/%C3%A4.png?x=1", "ä.png"),
        ("scan #1.png", "scan #1.png"),
        ("50% off?.png", "50% off?.png"),
    ],
)
def test_a_key_of_a_bucket_stands_for_itself_and_a_url_is_decoded_once(uri: str, name: str, tmp_path: Path) -> None:
    fill(tmp_path, "a b.png", "50 off.png", "scan ", "why", name)
    assert find_image(tmp_path, uri) == tmp_path / name


def test_the_longest_ending_of_an_address_that_exists_decides(tmp_path: Path) -> None:
    fill(tmp_path, "0001.png", "p1/0001.png", "p2/0001.png", "s/p2/0001.png")
    uris = [f"/data/local-files/?d=s%2F{patient}%2F0001.png" for patient in ("p1", "p2")]
    folder = ImageFolder(tmp_path, uris)
    assert [folder.place(uri) for uri in uris] == ["p1/0001.png", "s/p2/0001.png"]


@pytest.mark.parametrize(
    "uris",
    [
        ("s3://b/p1/0001.png", "s3://b/p2/0001.png"),
        ("/data/local-files/?d=p1%2F0001.png", "/data/local-files/?d=p2%2F0001.png"),
        ("/data/upload/1/0123abcd-0001.png", "/data/upload/1/4567cdef-0001.png"),
        ("https://one.example/0001.png", "https://two.example/0001.png"),
    ],
)
def test_a_file_that_two_addresses_may_mean_is_neither_s(uris: tuple[str, str], tmp_path: Path) -> None:
    folder = ImageFolder(fill(tmp_path, "0001.png"), uris)
    for uri in uris:
        with pytest.raises(NotFound, match="its task is not known; keep the images in their folders"):
            folder.read(uri)


def test_what_is_left_at_the_root_is_not_the_file_of_another_folder(tmp_path: Path) -> None:
    uris = ("s3://b/p1/0001.png", "s3://b/p2/0001.png", "s3://b/p1/0001.png")
    folder = ImageFolder(fill(tmp_path, "p1/0001.png", "0001.png"), uris)
    assert folder.place(uris[0]) == "p1/0001.png"
    exact = ImageFolder(tmp_path, ("/data/local-files/?d=0001.png", "s3://b/p2/0001.png"))
    assert exact.place("/data/local-files/?d=0001.png") == "0001.png"


def test_an_address_may_hold_the_image_itself(tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path, ["data:image/png;base64,AQID"])
    assert folder.read("data:image/png;base64,AQID") == bytes([1, 2, 3])
    with pytest.raises(NotFound, match="contains its image as a data: URI"):
        folder.path("data:image/png;base64,AQID")


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64,AQID+w==",
        "DATA:IMAGE/PNG;charset=utf-8;BASE64,AQID+w==",
        "data:image/png;base64,AQ\r\n ID+w==\n",
        "data:image/png;base64,AQID+w",
        "data:image/png;base64,AQID%2Bw%3D%3D",
        "data:image/png,%01%02%03%FB",
    ],
)
def test_a_data_uri_is_decoded_as_browsers_decode_it(uri: str, tmp_path: Path) -> None:
    assert ImageFolder(tmp_path).read(uri) == bytes([1, 2, 3, 251])


@pytest.mark.parametrize(
    "uri", ["data:image/png;base64,?", "data:image/png;base64,A", "data:", "data:image/png;base64"]
)
def test_a_data_uri_that_is_damaged_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="base64"):
        ImageFolder(tmp_path).read(uri)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/upload/1/0123abcd-e_f_1.png", "e f (1).png"),  # as Label Studio names the upload of that file
        ("/data/upload/1/0123abcd-50_off_2.png", "50% off #2.png"),
        ("/data/upload/1/0123abcd-A.PNG", "a.png"),
        ("/data/upload/1/0123abcd-6482e2-0123abcd-a.png", "a.png"),  # exported and uploaded again
        ("/data/upload/1/0123abcd-6482e2aa-a.png", "6482e2aa-a.png"),
        ("/data/upload/1/b.jpg", "B.JPG"),
        ("/data/upload/1/caf\u00e9.png", "cafe\u0301.png"),  # macOS stores letters decomposed
        ("s3://bucket/Set/A.png", "set/a.png"),
        ("https://host/download?file=a.png&size=2", "a.png"),
    ],
)
def test_a_file_whose_name_was_changed_on_its_way_is_found(uri: str, name: str, tmp_path: Path) -> None:
    assert find_image(fill(tmp_path, name, "other.png"), uri) == tmp_path / name


def test_an_upload_is_the_only_file_of_its_name_in_any_subfolder(tmp_path: Path) -> None:
    """An export with images, unpacked: --images names the folder around `images`."""
    for name in ("images/0123abcd-a.png", "images/b.png", "x/c.png", "y/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"image")
    upload = "/data/upload/1/0123abcd-"
    assert find_image(tmp_path, f"{upload}a.png") == tmp_path / "images/0123abcd-a.png"
    assert find_image(tmp_path, f"/studio{upload}b.png") == tmp_path / "images/b.png"
    for address in (f"{upload}c.png", "s3://bucket/set/b.png", "/data/local-files/?d=set/b.png"):
        with pytest.raises(NotFound, match="no file"):
            find_image(tmp_path, address)
    two = [f"{upload}b.png", "/data/upload/1/89abcdef-b.png"]
    with pytest.raises(NotFound, match="its task is not known"):
        ImageFolder(tmp_path, two).path(two[0])


def test_of_two_files_that_a_changed_name_may_mean_neither_is_taken(tmp_path: Path) -> None:
    fill(tmp_path, "a 1.png", "A (1).png")
    with pytest.raises(NotFound, match="no file"):
        find_image(tmp_path, "/data/upload/1/0123abcd-a_1.png")
    assert find_image(tmp_path, "/data/upload/1/a%201.png") == tmp_path / "a 1.png"


def test_an_address_that_names_an_image_is_not_taken_for_another_in_its_query(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file 'a.png'"):
        find_image(fill(tmp_path, "b.png"), "https://host/a.png?small=b.png")


def test_a_folder_of_the_address_s_name_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    with pytest.raises(NotFound, match="no file 'scan'"):
        ImageFolder(tmp_path, ["s3://bucket/scan"]).read("s3://bucket/scan")


@pytest.mark.parametrize("prefix", ["6482e2", "0123abcd"])
def test_the_prefix_of_an_upload_has_six_or_eight_digits(tmp_path: Path, prefix: str) -> None:
    """label-studio#611: /data/upload/6482e2-download.png, of version 0.9."""
    (tmp_path / "download.png").write_bytes(b"image")
    assert ImageFolder(tmp_path).read(f"/data/upload/{prefix}-download.png") == b"image"
    with pytest.raises(NotFound):
        ImageFolder(tmp_path).read(f"/data/upload/{prefix}a-download.png")
