"""By which names browsers know us, and whose pages send us requests."""

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
        names: their hosts, in small letters.
        origins: their schemes, hosts and ports, as `origin_of` writes them: a proxy may have changed a request's Host.
    """

    names: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, urls: Collection[str | None]) -> "KnownHosts":
        """Those of so many URLs; None counts for nothing."""
        told = [url for url in urls if url]
        return cls(
            names=frozenset(host_name(urlsplit(url).netloc) for url in told),
            origins=frozenset(origin_of(url) for url in told),
        )

    def check(self, host: str) -> None:
        """Let a request pass that comes under a name which cannot be another site's.

        For a server that asks for no credentials: whoever can make a browser here resolve a name of his to this machine
        could else read all of it under that name. IP addresses, localhost and our own names cannot be his; a request
        without any host comes from no browser.

        Raises:
            ForeignPage: any other name.
        """
        name = host_name(host)
        if host and not (name in _LOCAL or name in self.names or _is_address(name)):
            raise ForeignPage(
                f"the host {host[:100]!r} is not known here: use the IP address, set SAMLOOP_BACKEND_URL or "
                "SAMLOOP_PUBLIC_URL to this name, or set BASIC_AUTH_USER and BASIC_AUTH_PASS"
            )


def check_sender(method: str, headers: Mapping[str, str], *, known: KnownHosts) -> None:
    """Refuse what another site's page makes a browser send: it comes with what the browser knows, or needs nothing.

    Programs, Label Studio among them, tell nothing of a page and pass.

    Raises:
        ForeignPage: another site's page sent a request that changes something.
    """
    if method not in {*_HARMLESS, "OPTIONS"} and is_own_page(headers, known=known) is False:
        raise ForeignPage("this request was not sent by one of these pages: open the page here, and send it again")


def is_own_page(headers: Mapping[str, str], *, known: KnownHosts) -> bool | None:
    """By what browsers tell of every form and script, and no page can change; None where no page is told of.

    Another port of the same host is another site: other services, and other people's, answer there.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return None if site == "none" else site == "same-origin"
    if (origin := headers.get("origin")) is None:
        return None
    _, _, netloc = origin.partition("://")
    return bool(netloc) and (netloc == headers.get("host", "") or origin_of(origin) in known.origins)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, the port always told; "" for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}" if parts.hostname and port else ""


def host_name(host: str) -> str:
    """A `Host` without its port, in small letters; "" for what is none."""
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
