"""The names under which browsers know us, and the sites whose pages may send requests."""

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from backend.errors import ForeignPage

_LOCAL = frozenset({"localhost"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HARMLESS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHosts:
    """The addresses that the settings name, SAMLOOP_BACKEND_URL and SAMLOOP_PUBLIC_URL.

    Attributes:
        names: their hosts, in lower case.
        origins: their schemes, hosts and ports, as `origin_of` writes them: a proxy may have changed a request's Host.
    """

    names: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, urls: Collection[str | None]) -> "KnownHosts":
        """Return the hosts of these URLs; None is skipped."""
        told = [url for url in urls if url]
        return cls(
            names=frozenset(host_name(urlsplit(url).netloc) for url in told),
            origins=frozenset(origin_of(url) for url in told),
        )

    def check(self, host: str) -> None:
        """Let a request pass if its host name cannot be another site's.

        This protects a server without credentials from DNS rebinding: an attacker who makes a browser resolve the
        attacker's name to this machine could read everything under that name. IP addresses, localhost and our own names
        cannot be the attacker's, and a request without a host does not come from a browser.

        Raises:
            ForeignPage: the host is any other name.
        """
        name = host_name(host)
        if host and not (name in _LOCAL or name in self.names or _is_address(name)):
            raise ForeignPage(
                f"the host {host[:100]!r} is not one of ours: use the IP address, set SAMLOOP_BACKEND_URL or "
                "SAMLOOP_PUBLIC_URL to this name, or set BASIC_AUTH_USER and BASIC_AUTH_PASS"
            )


def check_sender(method: str, headers: Mapping[str, str], *, known: KnownHosts) -> None:
    """Refuse requests that another site's page makes a browser send, perhaps with the browser's credentials.

    Programs, including Label Studio, send no page's origin and pass.

    Raises:
        ForeignPage: another site's page sent a request that changes something.
    """
    if method not in {*_HARMLESS, "OPTIONS"} and is_own_page(headers, known=known) is False:
        raise ForeignPage(
            "this request did not come from one of samloop's own pages: open the page here, and send it again"
        )


def is_own_page(headers: Mapping[str, str], *, known: KnownHosts) -> bool | None:
    """Return whether one of our own pages sent the request, by headers that no page can forge; None without them.

    Another port of the same host is another site: other people's services may answer there.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return None if site == "none" else site == "same-origin"
    if (origin := headers.get("origin")) is None:
        return None
    _, _, netloc = origin.partition("://")
    return bool(netloc) and (netloc == headers.get("host", "") or origin_of(origin) in known.origins)


def origin_of(url: str) -> str:
    """Return a URL's scheme, host and port, always with the port; "" for text that is not a URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}" if parts.hostname and port else ""


def host_name(host: str) -> str:
    """Return a `Host` header's name without its port, in lower case; "" where it is not valid."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
