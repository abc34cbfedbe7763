"""Fetches the bytes of a task's image from any address that the URL policy allows."""

import base64
import re
import time
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

from backend.errors import BadInput, ForbiddenUrl, KeyRefused, NotFound, RedirectedElsewhere, Upstream
from backend.images.local_files import PATH as LOCAL_FILES
from backend.images.local_files import parse_path, read_file
from backend.images.picture import open_image
from backend.labelstudio.api.client import NAME_LABEL_STUDIO, LabelStudio
from backend.labelstudio.api.session import PASSING
from backend.net.browsers import is_on_a_disk, read_address
from backend.net.data_uri import decode_data_uri
from backend.net.download import download
from backend.net.url_policy import LONGEST_URL, Resolver, check_path, check_url, is_same_site, resolve_host
from backend.settings import Settings

__all__ = ["ImageSource", "open_image"]

_MOST_REDIRECTS = 5
_LABEL_STUDIO_PATHS = re.compile(r"/(?:data|storage-data|static|(?:tasks|projects)/[0-9]+/(?:resolve|presign))/")
_BUCKETS = frozenset({"s3", "gs", "azure-blob"})


class ImageSource:
    """Fetches images for the projects of one Label Studio. Thread-safe.

    Args:
        settings: limits, allowed hosts, folders of local files.
        label_studio: the Label Studio that holds the uploads, where known.
        further_urls: more URLs under which tasks name that Label Studio, besides its own and its public URL.
        resolver: resolves host names to addresses.

    Attributes:
        name: unique to the Label Studio and its key, and does not reveal the key.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        label_studio: LabelStudio | None,
        further_urls: Collection[str] = (),
        resolver: Resolver = resolve_host,
    ) -> None:
        self.name = label_studio.name if label_studio else "no Label Studio"
        self._label_studio, self._resolver = label_studio, resolver
        self._urls = (label_studio.url, label_studio.public_url, *further_urls) if label_studio else ()
        self._max_bytes = settings.image.mib << 20
        self._seconds = settings.image.seconds
        self._roots = settings.image.local_files_root
        self._hosts = settings.image.hosts

    def fetch(self, uri: str, *, task_id: int | None = None) -> bytes:
        """Return the bytes at a task's address. Nobody has checked yet that they are an image.

        Args:
            uri: "/data/upload/...", "/data/local-files/?d=...", "http(s)://...", "data:image/...;base64,..."; and, with
                a `task_id`, "s3://...", "gs://...", "azure-blob://...", which Label Studio resolves for its task.
                It is read as browsers read it (`read_address`).
            task_id: the task, where known.

        Raises:
            ForbiddenUrl: the policy refuses the address.
            NotFound: there is nothing at the address.
            BadInput: the text is not an address, or the image has more bytes than SAMLOOP_IMAGE_MIB.
            KeyRefused, Upstream: Label Studio or the host refuses us, fails, or is too slow.
        """
        uri = read_address(uri)
        scheme = uri[:12].partition(":")[0].lower() if ":" in uri[:12] else ""
        if scheme == "data":
            return self._data(uri)
        if len(uri) > LONGEST_URL:
            raise BadInput(f"the image's address has {len(uri)} characters, and at most {LONGEST_URL} are allowed")
        until_s = time.monotonic() + self._seconds
        if scheme in _BUCKETS:
            return self._from_bucket(uri, task_id, until_s)
        if is_on_a_disk(uri):
            raise ForbiddenUrl(
                f"{uri[:80]!r} is a path on a disk, and images may come by http or https: upload the image to Label "
                "Studio, or add its folder there as local storage"
            )
        if uri.startswith("//"):
            scheme = urlsplit(self._label_studio.public_url).scheme if self._label_studio else "https"
            uri = f"{scheme}:{uri}"
        if uri.startswith("/") or self._is_in_label_studio(uri):
            return self._from_label_studio(uri, until_s)
        return self._from_elsewhere(uri, until_s)

    def _is_in_label_studio(self, uri: str) -> bool:
        """Whether a URL names a file of Label Studio, by its own address or by one for browsers, as localhost's is."""
        for number, url in enumerate(self._urls):
            if is_same_site(uri, url):
                below = urlsplit(uri).path.removeprefix(urlsplit(url).path.rstrip("/"))
                if number == 0 or _LABEL_STUDIO_PATHS.match(below):
                    return True
        return False

    def _data(self, uri: str) -> bytes:
        if len(uri) > self._max_bytes * 4 // 3 + 200:
            raise BadInput(
                f"the image's data: URI has more than {self._max_bytes} bytes; SAMLOOP_IMAGE_MIB raises the limit"
            )
        return decode_data_uri(uri)

    def _from_bucket(self, uri: str, task_id: int | None, until_s: float) -> bytes:
        """Fetch from a bucket. Label Studio holds its keys: it redirects to a signed URL or sends the bytes itself."""
        if task_id is None:
            raise BadInput(f"{uri[:120]!r} is in a bucket, which Label Studio opens by a task's id: send the task's id")
        encoded = base64.urlsafe_b64encode(uri.encode()).decode()
        try:
            return self._from_label_studio(f"/tasks/{task_id}/resolve/?fileuri={quote(encoded)}", until_s)
        except NotFound as fault:
            raise NotFound(
                f"Label Studio cannot open {uri[:120]!r} for task {task_id}: is the storage still connected to its "
                "project, and the object still there?"
            ) from fault

    def _from_label_studio(self, uri: str, until_s: float) -> bytes:
        """Fetch an upload, a local file or a resolved bucket, with the key or from the disk."""
        parts = urlsplit(uri)
        check_path(parts.path)
        missing: NotFound | None = None
        if parts.path.endswith(LOCAL_FILES) or parts.path.endswith(LOCAL_FILES.rstrip("/")):
            relative = parse_path(parts.query)
            try:
                if self._roots:
                    return read_file(relative, roots=self._roots, max_bytes=self._max_bytes)
            except NotFound as fault:
                missing = fault  # another local storage of Label Studio may have it
        if self._label_studio is None:
            raise missing or BadInput(
                f"{parts.path[:80]!r} is in a Label Studio whose address is not known: {NAME_LABEL_STUDIO}"
            )
        # To the URL that this server uses, and no other: the key must go nowhere else.
        address = f"{self._path_below(parts.path)}?{parts.query}" if parts.query else self._path_below(parts.path)
        left_s = max(0.0, until_s - time.monotonic())
        try:
            return self._label_studio.get_bytes(address, max_bytes=self._max_bytes, deadline_s=left_s)
        except RedirectedElsewhere as redirect:
            return self._from_elsewhere(redirect.location, until_s)
        except (NotFound, KeyRefused) as fault:
            if missing is None:
                raise
            raise missing from fault

    def _path_below(self, path: str) -> str:
        """Return a file's path below Label Studio's address. Behind a proxy, tasks hold the path that browsers use."""
        below = (path.removeprefix(urlsplit(url).path.rstrip("/")) for url in self._urls)
        found = next((path for path in below if _LABEL_STUDIO_PATHS.match(path)), None)
        if found is None:
            raise ForbiddenUrl(
                f"{path[:80]!r} is not a path under which Label Studio stores images: uploads are below "
                f"/data/upload/, the files of a local storage below {LOCAL_FILES}?d="
            )
        return found

    def _from_elsewhere(self, url: str, until_s: float) -> bytes:
        """Fetch from any host that the policy allows, without the key. The policy checks every redirect."""
        for _ in range(_MOST_REDIRECTS + 1):
            target = check_url(url, allowed_hosts=self._hosts, resolver=self._resolver)
            reply = download(target.url, address=target.address, max_bytes=self._max_bytes, until_s=until_s)
            if reply.location is None:
                break
            url = urljoin(url, reply.location)
        else:
            raise Upstream(f"{urlsplit(url).hostname} redirects over {_MOST_REDIRECTS} times: link the image itself")
        if reply.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise NotFound(f"{urlsplit(url).hostname} has no {urlsplit(url).path[:120]}")
        if reply.status != HTTPStatus.OK:
            raise Upstream(
                f"{urlsplit(url).hostname} answered {reply.status} for {urlsplit(url).path[:120]}",
                is_passing=reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status in PASSING,
            )
        return reply.body
