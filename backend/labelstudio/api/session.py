"""One conversation with one Label Studio: credentials, retries, and its failures as ours."""

import hashlib
import logging
import random
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import requests

from backend.errors import BadInput, ForbiddenUrl, KeyRefused, NotFound, SamloopError, Upstream
from backend.labelstudio.api.auth import Credentials
from backend.net.checked_peers import CheckedPeers
from backend.net.url_policy import Resolver, check_peer, check_url, find_port, resolve_host, split_url

log = logging.getLogger(__name__)

Json = dict[str, Any]

_TRIES = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 5.0


# Every prediction of a large project comes in one answer. Of an address that anybody may have named, less.
_MOST_BYTES, _MOST_TOLD_BYTES = 1 << 30, 64 << 20
_LONGEST_S, _LONGEST_TOLD_S = 600.0, 60.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The URL policy, for a Label Studio that /setup named.

    Attributes:
        url: its address.
        allowed_hosts: hosts that need not be public, as SAMLOOP_IMAGE_HOSTS names them.
        resolver: how host names become addresses.
    """

    url: str
    allowed_hosts: Collection[str]
    resolver: Resolver = resolve_host

    def address_of(self, url: str) -> str:
        """The address to connect to. Raises ForbiddenUrl, Upstream."""
        try:
            return check_url(url, allowed_hosts=self.allowed_hosts, resolver=self.resolver).address
        except ForbiddenUrl as fault:
            raise ForbiddenUrl(
                f"/setup named the Label Studio {self.url[:100]!r}, and {fault}; or set LABEL_STUDIO_URL and "
                "LABEL_STUDIO_API_KEY to the Label Studio that is meant"
            ) from fault

    def check_peer(self, address: str) -> None:
        """Look at a connection that stands. Raises ForbiddenUrl."""
        parts = split_url(self.url)
        check_peer(address, host=f"{parts.hostname}:{find_port(parts)}", allowed_hosts=self.allowed_hosts)


class Session:
    """Sends requests to one Label Studio and to nothing else: no redirect is followed, no cookie is kept.

    Args:
        url: where it answers, such as "http://localhost:8080" or with a path.
        api_key: legacy token or personal access token.
        timeout_s: longest silence of the connection.
        policy: what an address must pass that a stranger named; None for an address that the settings name.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float, policy: AddressPolicy | None = None) -> None:
        if not _is_address(url):
            raise BadInput(f"{url[:200]!r} is not the address of a Label Studio, such as http://localhost:8080")
        self.url = url.rstrip("/")
        self.name = f"{self.url}#{hashlib.sha256(api_key.encode()).hexdigest()[:12]}"
        self.credentials = Credentials(api_key, exchange=self._access_token)
        self._timeout_s, self._policy = timeout_s, policy
        self._http = requests.Session()
        if policy is not None:
            self._http.trust_env = False  # a proxy would connect wherever it is told to
            for scheme in ("http://", "https://"):
                self._http.mount(scheme, CheckedPeers(policy.check_peer))
        # A session cookie would make Django ask for a CSRF token, and would outlive a change of the key.
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def address_of(self, url: str) -> str | None:
        """The address to connect to for a URL of this Label Studio; None: as its name resolves.

        Raises:
            ForbiddenUrl, Upstream: as `url_policy.check`, where a stranger named it.
        """
        return None if self._policy is None else self._policy.address_of(url)

    def get(self, path: str, **query: object) -> object:
        """Return the JSON at `path`; tried again, with growing pauses, while the failure may pass."""
        for attempt in range(_TRIES - 1):
            try:
                return self.send("GET", path, query=query)
            except Upstream as fault:
                wait_s = _FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, hides nothing
                log.info("Label Studio failed, trying again: %s", fault, extra={"event": "labelstudio.retry"})
                time.sleep(min(max(wait_s, fault.retry_after_s or 0.0), _LONGEST_WAIT_S))
        return self.send("GET", path, query=query)

    def send(self, method: str, path: str, **content: object) -> object:
        """Send one request, once; return its JSON, None where the answer is empty.

        Args:
            method: of HTTP.
            path: below the address.
            content: `query` (a mapping), `body` (JSON), `files` (as requests takes them).

        Raises:
            KeyRefused, NotFound: 401 and 403, 404.
            BadInput: 400, 409 and 422, with what Label Studio says.
            Upstream: it cannot be reached, fails, or answers with something that is no JSON.
        """
        what = f"{method} {path}"
        header = self.credentials.header()
        reply = self._once(method, path, header=header, **content)
        if reply.status_code == HTTPStatus.UNAUTHORIZED and self.credentials.forget_refused(header):
            reply = self._once(method, path, header=self.credentials.header(), **content)
        if reply.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            raise _fault(reply, what, self.url)
        if not reply.content:
            return None
        try:
            answer: object = reply.json()
        except ValueError as fault:
            raise Upstream(
                f"{self.url} answered {what} with {_kind(reply)} that is no JSON: is LABEL_STUDIO_URL a Label Studio?"
            ) from fault
        return answer

    def _once(self, method: str, path: str, *, header: str | None, **content: object) -> requests.Response:
        names = {"query": "params", "body": "json", "files": "files"}
        arguments: dict[str, Any] = {names[name]: value for name, value in content.items()}
        self.address_of(self.url)
        try:
            reply = self._http.request(
                method,
                self.url + path,
                auth=_Header(header),
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,
                **arguments,
            )
            return self._read(reply, what=f"{method} {path}")
        except requests.RequestException as fault:
            reason = type(fault).__name__
            raise Upstream(f"{self.url} did not answer {method} {path} ({reason}): is Label Studio up?") from fault

    def _read(self, reply: requests.Response, *, what: str) -> requests.Response:
        """The answer with its body, which may be neither endless nor endlessly slow."""
        is_told = self._policy is not None
        most, longest_s = (_MOST_TOLD_BYTES, _LONGEST_TOLD_S) if is_told else (_MOST_BYTES, _LONGEST_S)
        body, until_s = bytearray(), monotonic() + longest_s
        with reply:
            for piece in reply.iter_content(_PIECE):
                body += piece
                if len(body) > most or monotonic() > until_s:
                    raise Upstream(
                        f"{self.url} answered {what} with more than {most} bytes, or in over {longest_s:.0f} s"
                    )
        reply._content = bytes(body)  # noqa: SLF001 - where requests keeps a body that it has read itself
        return reply

    def _access_token(self, personal: str) -> str:
        """A new access token for a personal access token, valid 300 s."""
        path = "/api/token/refresh/"
        reply = self._once("POST", path, header=None, body={"refresh": personal})
        if reply.status_code >= 300:
            raise _fault(reply, f"POST {path}", self.url)
        try:
            access = reply.json()["access"]
        except (ValueError, KeyError, TypeError) as fault:
            raise Upstream(f"{self.url} gave no access token for the personal access token") from fault
        return str(access)


def _is_address(url: str) -> bool:
    """Whether a Label Studio may answer there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


def json_object(reply: object) -> Json:
    """Return an answer that is an object.

    Raises:
        Upstream: it is none.
    """
    if not isinstance(reply, dict):
        raise Upstream(f"Label Studio answered {type(reply).__name__} where an object was expected")
    return reply


def json_list(reply: object) -> list[Json]:
    """Return an answer that is a list, or the list inside of a page.

    Raises:
        Upstream: it is neither.
    """
    if isinstance(reply, dict):
        reply = reply.get("results")
    if not isinstance(reply, list):
        raise Upstream(f"Label Studio answered {type(reply).__name__} where a list was expected")
    return reply


# Of the refusals those that pass: too slow, too early, too many; 424 is Label Studio's for a bucket that fails it.
PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.FAILED_DEPENDENCY,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


class _Header(requests.auth.AuthBase):
    """Sets `Authorization`, or makes sure that there is none: without it requests would look into ~/.netrc."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _fault(reply: requests.Response, what: str, url: str) -> SamloopError:
    status = reply.status_code
    if status in {401, 403}:
        return KeyRefused(
            f"{url} answered {status} to {what}: LABEL_STUDIO_API_KEY is not accepted or not allowed this; "
            "take a new one from Account & Settings (legacy tokens may be switched off for the organization)"
        )
    if status == 404:
        return NotFound(f"{url} has nothing at {what}")
    if status < 400:
        return Upstream(
            f"{url} redirects {what} elsewhere: set LABEL_STUDIO_URL to where it really is", is_passing=False
        )
    if status in {400, 409, 422}:
        return BadInput(f"{url} refused {what}: {_detail(reply)}")
    after = reply.headers.get("Retry-After", "")
    asked_s = float(after) if after.isascii() and after.isdecimal() and len(after) < 6 else None
    return Upstream(
        f"{url} answered {status} to {what}: {_detail(reply)}",
        retry_after_s=asked_s,
        is_passing=status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING,
    )


def _detail(reply: requests.Response) -> str:
    """What Label Studio says, short and without markup."""
    try:
        said = reply.json()
    except ValueError:
        return f"({_kind(reply)})"
    if isinstance(said, dict):
        said = said.get("validation_errors") or said.get("detail") or said
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", "; ".join(_sentences(said))))[:300]


def _sentences(said: object) -> Iterator[str]:
    """`{"score": ["A valid number is required."]}` as "score: A valid number is required."."""
    if isinstance(said, dict):
        for name, below in said.items():
            told = "; ".join(_sentences(below))
            yield told if name == "non_field_errors" else f"{name}: {told}"
    elif isinstance(said, list):
        for below in said:
            yield from _sentences(below)
    else:
        yield str(said)


def _kind(reply: requests.Response) -> str:
    return reply.headers.get("Content-Type", "something").split(";")[0][:40]
