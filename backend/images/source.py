"""The bytes of a task's image, from wherever its URL points, as far as the policy allows."""

import base64
import re
import time
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

from backend.errors import BadInput, ForbiddenUrl, NotFound, RedirectedElsewhere, Upstream
from backend.images.folder import decode_data_uri
from backend.images.local_files import PATH as LOCAL_FILES
from backend.images.local_files import read_file, relative_path
from backend.images.picture import open_image
from backend.labelstudio.api.client import NAME_LABEL_STUDIO, LabelStudio
from backend.labelstudio.api.session import PASSING
from backend.net.download import download
from backend.net.url_policy import LONGEST_URL, Resolver, check, check_path, resolve, same_origin
from backend.settings import Settings

__all__ = ["ImageSource", "open_image"]

_MOST_REDIRECTS = 5
_LABEL_STUDIO_PATHS = re.compile(r"/(?:data|storage-data|static|(?:tasks|projects)/[0-9]+/(?:resolve|presign))/")
_BUCKETS = frozenset({"s3", "gs", "azure-blob"})


class ImageSource:
    """Fetches the images of the projects of one Label Studio. Safe for any number of threads.

    Args:
        settings: limits, allowed hosts, folders of local files.
        label_studio: where uploads are; None where none is known.
        further_urls: by which tasks name that Label Studio too, beside its own and its public URL.
        resolver: how host names become addresses.

    Attributes:
        name: tells this source apart from those of other Label Studios and keys; shows no key.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        label_studio: LabelStudio | None,
        further_urls: Collection[str] = (),
        resolver: Resolver = resolve,
    ) -> None:
        self.name = label_studio.name if label_studio else "no Label Studio"
        self._label_studio, self._resolver = label_studio, resolver
        self._further_urls = (*([label_studio.public_url] if label_studio else []), *further_urls)
        self._max_bytes = settings.image.mib << 20
        self._seconds = settings.image.seconds
        self._roots = settings.image.local_files_root
        self._hosts = settings.image.hosts

    def fetch(self, uri: str, *, task_id: int | None = None) -> bytes:
        """Return the bytes at the address that a task holds; they need not be an image yet.

        Args:
            uri: "/data/upload/...", "/data/local-files/?d=...", "http(s)://...", "data:image/...;base64,..."; and,
                with a `task_id`, "s3://...", "gs://...", "azure-blob://...", which Label Studio resolves for its task.
                Blanks around it are cut off, as browsers do.
            task_id: the task, where known.

        Raises:
            ForbiddenUrl: an address that the policy refuses.
            NotFound: nothing there.
            BadInput: no address, or more bytes than SAMLOOP_IMAGE_MIB.
            KeyRefused, Upstream: Label Studio, or the host, refuses us, fails, or is too slow.
        """
        uri = uri.strip()
        scheme = uri[:12].partition(":")[0].lower() if ":" in uri[:12] else ""
        if scheme == "data":
            return self._data(uri)
        if len(uri) > LONGEST_URL:
            raise BadInput(f"the image's address has {len(uri)} characters, and {LONGEST_URL} are the most")
        until_s = time.monotonic() + self._seconds
        if scheme in _BUCKETS:
            return self._from_bucket(uri, task_id, until_s)
        if uri.startswith("/") and not uri.startswith("//"):
            return self._from_label_studio(uri, until_s)
        if self._label_studio and same_origin(uri, self._label_studio.url):
            return self._from_label_studio(uri, until_s)
        if (path := self._path_in_label_studio(uri)) is not None:
            return self._from_label_studio(path, until_s)
        return self._from_elsewhere(uri, until_s)

    def _path_in_label_studio(self, uri: str) -> str | None:
        """The path of a file of Label Studio's that a task names by a URL of it that browsers know, such as localhost.

        It is asked of the URL that the server reaches: the key goes nowhere else.
        """
        if self._label_studio is None:
            return None
        for base in self._further_urls:
            if same_origin(uri, base):
                parts = urlsplit(uri)
                below = parts.path.removeprefix(urlsplit(base).path.rstrip("/"))
                if _LABEL_STUDIO_PATHS.match(below):
                    return f"{below}?{parts.query}" if parts.query else below
        return None

    def _data(self, uri: str) -> bytes:
        if len(uri) > self._max_bytes * 4 // 3 + 200:
            raise BadInput(
                f"the image's data: URI has more than {self._max_bytes} bytes; SAMLOOP_IMAGE_MIB raises the limit"
            )
        return decode_data_uri(uri)

    def _from_bucket(self, uri: str, task_id: int | None, until_s: float) -> bytes:
        """Label Studio holds the bucket's keys: it sends us to a signed URL, or sends the bytes itself."""
        if task_id is None:
            raise BadInput(f"{uri[:120]!r} is in a bucket, which Label Studio opens for a task by its id; none came")
        encoded = base64.urlsafe_b64encode(uri.encode()).decode()
        try:
            return self._from_label_studio(f"/tasks/{task_id}/resolve/?fileuri={quote(encoded)}", until_s)
        except NotFound as fault:
            raise NotFound(
                f"Label Studio cannot open {uri[:120]!r} for task {task_id}: is the storage still connected to its "
                "project, and the object still there?"
            ) from fault

    def _from_label_studio(self, uri: str, until_s: float) -> bytes:
        """Uploads, local files and resolved buckets: with the key, or from the disk."""
        parts = urlsplit(uri)
        check_path(parts.path)
        if parts.path.endswith(LOCAL_FILES) or parts.path.endswith(LOCAL_FILES.rstrip("/")):
            relative = relative_path(parts.query)
            if self._roots:
                return read_file(relative, roots=self._roots, max_bytes=self._max_bytes)
        if self._label_studio is None:
            raise BadInput(f"{parts.path[:80]!r} is in Label Studio, and which one is not known: {NAME_LABEL_STUDIO}")
        below = parts.path.removeprefix(urlsplit(self._label_studio.url).path)
        if not _LABEL_STUDIO_PATHS.match(below):
            raise ForbiddenUrl(f"{parts.path[:80]!r} is no place where Label Studio keeps images")
        address = uri if "://" in uri[:10] else f"{below}?{parts.query}" if parts.query else below
        address = address.replace("\\", "%5C")  # a path of Windows, which no URL carries plain
        try:
            return self._label_studio.get_bytes(
                address, max_bytes=self._max_bytes, deadline_s=max(0.0, until_s - time.monotonic())
            )
        except RedirectedElsewhere as redirect:
            return self._from_elsewhere(redirect.location, until_s)

    def _from_elsewhere(self, url: str, until_s: float) -> bytes:
        """Any host that the policy allows, without the key; every redirect is checked again."""
        for _ in range(_MOST_REDIRECTS + 1):
            target = check(url, allowed_hosts=self._hosts, resolver=self._resolver)
            reply = download(target.url, address=target.address, max_bytes=self._max_bytes, until_s=until_s)
            if reply.location is None:
                break
            url = urljoin(url, reply.location)
        else:
            raise Upstream(f"{urlsplit(url).hostname} redirects more than {_MOST_REDIRECTS} times")
        if reply.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise NotFound(f"{urlsplit(url).hostname} has no {urlsplit(url).path[:120]}")
        if reply.status != HTTPStatus.OK:
            raise Upstream(
                f"{urlsplit(url).hostname} answered {reply.status} for {urlsplit(url).path[:120]}",
                is_passing=reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status in PASSING,
            )
        return reply.body
