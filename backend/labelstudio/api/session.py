"""Sends requests to one Label Studio: adds credentials, tries again, and turns its failures into our errors."""

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

# Label Studio sends every prediction of a large project in one answer. An address from a stranger may send less.
_MOST_BYTES, _MOST_TOLD_BYTES = 1 << 30, 64 << 20
_LONGEST_S, _LONGEST_TOLD_S = 600.0, 60.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The URL policy for a Label Studio that /setup named.

    Attributes:
        url: Label Studio's address.
        allowed_hosts: hosts that need not be public, from SAMLOOP_IMAGE_HOSTS.
        resolver: turns a host name into addresses.
    """

    url: str
    allowed_hosts: Collection[str]
    resolver: Resolver = resolve_host

    def address_of(self, url: str) -> str:
        """Return the address to connect to. Raises ForbiddenUrl, Upstream."""
        try:
            return check_url(url, allowed_hosts=self.allowed_hosts, resolver=self.resolver).address
        except ForbiddenUrl as fault:
            raise ForbiddenUrl(
                f"/setup named the Label Studio {self.url[:100]!r}, and {fault}; or set LABEL_STUDIO_URL and "
                "LABEL_STUDIO_API_KEY to the right Label Studio"
            ) from fault

    def check_peer(self, address: str) -> None:
        """Check the address of an open connection. Raises ForbiddenUrl."""
        parts = split_url(self.url)
        check_peer(address, host=f"{parts.hostname}:{find_port(parts)}", allowed_hosts=self.allowed_hosts)


class Session:
    """Sends requests to one Label Studio and to no other host. Follows no redirect and stores no cookie.

    Args:
        url: where Label Studio answers, such as "http://localhost:8080"; may hold a path.
        api_key: a legacy token or a personal access token.
        timeout_s: the longest silence of a connection, s.
        policy: checks an address that a stranger named; None for an address from the settings.
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
            self._http.trust_env = False  # a proxy would resolve the name itself, past our check
            for scheme in ("http://", "https://"):
                self._http.mount(scheme, CheckedPeers(policy.check_peer))
        # A session cookie would make Django ask for a CSRF token, and would outlive a change of the key.
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def address_of(self, url: str) -> str | None:
        """Return the address to connect to for a URL of this Label Studio; None if any address of its name will do.

        Raises:
            ForbiddenUrl, Upstream: as `url_policy.check_url` does, if a stranger named this Label Studio.
        """
        return None if self._policy is None else self._policy.address_of(url)

    def get(self, path: str, **query: object) -> object:
        """Return the JSON at `path`. Up to four tries, with growing pauses, as long as the failure may pass."""
        for attempt in range(_TRIES - 1):
            try:
                return self.send("GET", path, query=query)
            except Upstream as fault:
                wait_s = _FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, hides nothing
                log.info("Label Studio failed, trying again: %s", fault, extra={"event": "labelstudio.retry"})
                time.sleep(min(max(wait_s, fault.retry_after_s or 0.0), _LONGEST_WAIT_S))
        return self.send("GET", path, query=query)

    def send(self, method: str, path: str, **content: object) -> object:
        """Send one request, once; return its JSON, or None for an empty answer.

        Args:
            method: an HTTP method.
            path: below Label Studio's address.
            content: `query` (a mapping), `body` (JSON), `files` (as requests takes them).

        Raises:
            KeyRefused: status 401 or 403.
            NotFound: status 404.
            BadInput: status 400, 409 or 422; the message quotes Label Studio.
            Upstream: Label Studio cannot be reached, fails, redirects, or answers something other than JSON.
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
                f"{self.url} answered {what} with {_kind(reply)}, not JSON: is LABEL_STUDIO_URL a Label Studio?"
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
        """Read the reply's body, which may be neither endless nor endlessly slow."""
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
        reply._content = bytes(body)  # noqa: SLF001 - here requests stores a body that it read
        return reply

    def _access_token(self, personal: str) -> str:
        """Fetch a new access token, valid for 300 s, for a personal access token."""
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
    """Whether a URL may be a Label Studio's: http or https, with a host, without a user name."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


def json_object(reply: object) -> Json:
    """Return the reply, which must be an object.

    Raises:
        Upstream: it is not.
    """
    if not isinstance(reply, dict):
        raise Upstream(f"Label Studio answered {type(reply).__name__} where an object was expected")
    return reply


def json_list(reply: object) -> list[Json]:
    """Return the reply, which must be a list or a page that holds a list.

    Raises:
        Upstream: it is neither.
    """
    if isinstance(reply, dict):
        reply = reply.get("results")
    if not isinstance(reply, list):
        raise Upstream(f"Label Studio answered {type(reply).__name__} where a list was expected")
    return reply


# Statuses below 500 that may pass: too slow, too early, too many; 424 means that a bucket failed Label Studio.
PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.FAILED_DEPENDENCY,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


class _Header(requests.auth.AuthBase):
    """Sets `Authorization`, or none at all: without this class, requests would take a password from ~/.netrc."""

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
            f"{url} answered {status} to {what}: LABEL_STUDIO_API_KEY is not accepted, or may not do this; "
            "take a new one from Account & Settings (legacy tokens may be switched off for the organization)"
        )
    if status == 404:
        return NotFound(f"{url} has nothing at {what}")
    if status < 400:
        return Upstream(f"{url} redirects {what} elsewhere: set LABEL_STUDIO_URL to its real address", is_passing=False)
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
    """Label Studio's reason, short and without markup."""
    try:
        reason = reply.json()
    except ValueError:
        return f"({_kind(reply)})"
    if isinstance(reason, dict):
        reason = reason.get("validation_errors") or reason.get("detail") or reason
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", "; ".join(_sentences(reason))))[:300]


def _sentences(reason: object) -> Iterator[str]:
    """Turn `{"score": ["A valid number is required."]}` into "score: A valid number is required."."""
    if isinstance(reason, dict):
        for name, inner in reason.items():
            text = "; ".join(_sentences(inner))
            yield text if name == "non_field_errors" else f"{name}: {text}"
    elif isinstance(reason, list):
        for inner in reason:
            yield from _sentences(inner)
    else:
        yield str(reason)


def _kind(reply: requests.Response) -> str:
    return reply.headers.get("Content-Type", "something").split(";")[0][:40]
