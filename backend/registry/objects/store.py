"""Objects by their keys: fsspec behind time limits, retries, and errors that say what to do."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fsspec.exceptions import FSTimeoutError

from backend.errors import SettingsError, Unavailable
from backend.registry.objects.filesystems import open_filesystem

log = logging.getLogger(__name__)
_CALL_S = 10.0
_BYTES_A_SECOND = 1 << 20  # the slowest transfer that is waited for
_PAUSES_S = (0.2, 1.0)  # between tries
_SILENT_S = 5.0  # how long nothing is sent to a store that let a call run out of time
_ABSENT_IN_AZURE = "ResourceNotFoundError"  # what adlfs passes on where the container does not exist
_BUGS = (TypeError, AttributeError, NameError, AssertionError)
_IN_MEMORY = threading.RLock()  # fsspec's memory looks before it writes, and its readers share a position


class ObjectStore:
    """The objects below one address, such as `s3://bucket/prefix`. Safe for any number of threads and machines.

    Every method raises:
        Unavailable: the store does not answer in time, or refuses us.
        SettingsError: the address names a kind of store that cannot be used here.

    Args:
        url: without a slash at its end.
        pause: waits for so many seconds.
    """

    def __init__(self, url: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._url, self._pause = url, pause
        self._silent_until_s = 0.0
        self._is_conditional = False
        self._opening = threading.Lock()

    @property
    def url(self) -> str:
        """The address; it holds no secret."""
        return self._url

    def read(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is no such object."""
        try:
            return bytes(self._try(lambda: self._send("cat_file", self._path(key))))
        except FileNotFoundError:
            return None

    def download(self, key: str, path: Path, *, size: int) -> bool:
        """Write the object, which has `size` bytes, to a file; False if there is no such object."""
        try:
            self._try(lambda: self._send("get_file", self._path(key), str(path), size=size))
        except FileNotFoundError:
            return False
        return True

    def write(self, key: str, data: bytes) -> None:
        """Write the object, in place of one that has the key."""
        try:
            self._try(lambda: self._send("pipe_file", self._path(key), data, size=len(data)))
        except FileNotFoundError as fault:
            raise self._no_bucket() from fault

    def create(self, key: str, data: bytes) -> bool:
        """Write the object only if no object has the key; False if another has it.

        `data` must be the caller's alone: an answer that was lost is found again by it.

        Raises:
            SettingsError: the store would overwrite, so that of two writers both would win.
        """
        self.check_conditional()
        return self._create(key, data)

    def list_names(self, key: str) -> tuple[str, ...]:
        """The names directly below the key, of objects and of folders; () where nothing is below it."""
        try:
            paths = self._try(lambda: self._send("ls", self._path(key), detail=False))
        except FileNotFoundError:
            self.check_there()
            return ()
        return tuple(path.rstrip("/").rpartition("/")[2] for path in paths)

    def list_objects(self, key: str) -> dict[str, float]:
        """All objects below the key, by their keys relative to it, with the time of their writing (Unix time, s)."""
        root = self._path(key).strip("/") + "/"
        try:
            entries = self._try(lambda: self._send("find", self._path(key), detail=True))
        except FileNotFoundError:
            return {}
        return {
            path.lstrip("/").removeprefix(root): _read_time(entry)
            for path, entry in entries.items()
            if path.lstrip("/").startswith(root)
        }

    def delete(self, keys: Iterable[str]) -> None:
        """Delete these objects; an object that is gone already counts as deleted."""
        for key in keys:
            with suppress(FileNotFoundError):
                self._try(partial(self._send, "rm_file", self._path(key)))

    def check_there(self) -> None:
        """Tell a bucket that is empty from a bucket that does not exist.

        Raises:
            Unavailable: it does not exist.
        """
        bucket = self._root.strip("/").partition("/")[0]
        if self._files.async_impl and not self._try(lambda: self._send("exists", bucket)):
            raise self._no_bucket()

    def check_conditional(self) -> None:
        """Try once, with an object of a random name, that the store refuses to create what exists.

        Raises:
            SettingsError: it does not.
        """
        if self._is_conditional:
            return
        key = f"probes/{secrets.token_hex(16)}"
        is_first, is_second = self._create(key, b"first"), self._create(key, b"second")
        self.delete((key,))
        if not is_first or is_second:
            raise SettingsError(
                f"MODEL_DIR={self._url!r}: this store overwrites what a conditional write must leave alone, so two "
                "trainings could take the same number: use S3, Google Cloud Storage, Azure, a MinIO or Ceph that "
                "honours `If-None-Match: *`, or a folder on a shared disk"
            )
        self._is_conditional = True

    @cached_property
    def _files(self) -> Any:  # noqa: ANN401 - fsspec has no types
        return open_filesystem(self._url)

    @cached_property
    def _root(self) -> str:
        return str(self._files._strip_protocol(self._url))  # noqa: SLF001 - fsspec's clients offer no other way

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _create(self, key: str, data: bytes) -> bool:
        def create() -> bool:
            try:
                self._send("pipe_file", self._path(key), data, mode="create", size=len(data))
            except FileNotFoundError:
                raise
            except Exception as fault:
                # Every store says "taken" in words of its own, and an answer may be lost on its way: look instead.
                existing = self.read(key)
                if existing is None:
                    raise
                log.debug("%s is taken: %s", key, fault)
                return existing == data
            return True

        try:
            return bool(self._try(create))
        except FileNotFoundError as fault:
            raise self._no_bucket() from fault

    def _send(self, method: str, *args: object, size: int = 0, **kwargs: object) -> Any:  # noqa: ANN401 - fsspec's
        """Call fsspec, in at most ten seconds and a second a MiB."""
        with self._opening:
            files = self._files
        with self._turn(files):
            if files.async_impl:
                kwargs["timeout"] = _CALL_S + size / _BYTES_A_SECOND
            return getattr(files, method)(*args, **kwargs)

    def _turn(self, files: Any) -> AbstractContextManager[object]:  # noqa: ANN401 - fsspec has no types
        return nullcontext() if files.async_impl else _IN_MEMORY

    def _try(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call returns
        """Call until it succeeds, three times at most; a call that ran out of time is not repeated.

        Raises:
            FileNotFoundError: there is no such object, or no such bucket.
        """
        if time.monotonic() < self._silent_until_s:
            raise self._away("it did not answer a moment ago")
        for pause_s in (*_PAUSES_S, None):
            try:
                return call()
            except (FileNotFoundError, SettingsError, Unavailable, *_BUGS):
                raise
            except PermissionError as fault:
                raise self._away(f"it refuses us ({fault})") from fault
            except (FSTimeoutError, TimeoutError) as fault:
                self._silent_until_s = time.monotonic() + _SILENT_S
                raise self._away("it did not answer in time") from fault
            except Exception as fault:  # of four libraries, which agree on no class
                if type(fault).__name__ == _ABSENT_IN_AZURE:
                    raise FileNotFoundError(str(fault)) from fault
                if pause_s is None:
                    raise self._away(f"{type(fault).__name__}: {str(fault)[:300]}") from fault
                self._pause(pause_s)
        raise AssertionError("the last try returns or raises")

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            f"the registry {self._url} cannot be reached: {why}; the served version stays; look at MODEL_DIR, the "
            "network and the store's credentials where this process runs"
        )

    def _no_bucket(self) -> Unavailable:
        return Unavailable(
            f"the registry {self._url} is in a bucket that does not exist, or that we may not see: make the bucket, or "
            "correct MODEL_DIR"
        )


def _read_time(entry: Mapping[str, object]) -> float:
    """When an object was written, Unix time, s: every store has a word of its own for it; now where it says none."""
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value = entry.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return time.time()
