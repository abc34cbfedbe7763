"""Which addresses an image may come from. Tasks hold URLs that anybody who may import data has written."""

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from backend.errors import BadInput, ForbiddenUrl, Upstream

LONGEST_URL = 8192

Resolver = Callable[[str, int], Collection[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be fetched, if the connection goes to `address` and to no other."""

    url: str
    address: str


def resolve(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses of a host, as the system resolves it.

    Raises:
        Upstream: there are none.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise Upstream(f"there is no host {host[:80]!r}") from fault
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))


def check(url: str, *, allowed_hosts: Collection[str] = (), resolver: Resolver = resolve) -> Target:
    """Allow an http(s) URL whose host is public, or is named in `allowed_hosts` ("host" or "host:port").

    The host is resolved here, once: connect to the address in the result, or it may be another one by then.

    Raises:
        ForbiddenUrl: another scheme, user-info, or a host with any address that is not public: loopback, private,
            link-local (cloud metadata), multicast, reserved, also mapped or tunnelled into IPv6.
        BadInput: no URL.
        Upstream: a host that does not resolve.
    """
    parts = split(url)
    host, port = str(parts.hostname), port_of(parts)
    addresses = tuple(resolver(host, port))
    if not addresses:
        raise Upstream(f"there is no host {host[:80]!r}")
    named = {name.lower() for name in allowed_hosts}
    bracketed = f"[{host}]" if ":" in host else host
    if named.isdisjoint({host, bracketed, f"{bracketed}:{port}"}):
        for address in addresses:
            if not _is_public(address):
                raise ForbiddenUrl(
                    f"{host[:80]} is not a public address, and images come from public ones; "
                    f"to allow it name {bracketed[:80]}:{port} in SAMLOOP_IMAGE_HOSTS"
                )
    return Target(url, addresses[0])


def check_peer(address: str, *, host: str, allowed_hosts: Collection[str] = ()) -> None:
    """Allow a connection that stands: to a public address, or for a `host` ("host:port") that is named.

    Raises:
        ForbiddenUrl: any other.
    """
    named = {name.lower() for name in allowed_hosts}
    if named.isdisjoint({host, host.rpartition(":")[0]}) and not _is_public(address):
        raise ForbiddenUrl(f"{host[:80]} is not at a public address")


def split(url: str) -> SplitResult:
    """Split a URL of the kind that `check` looks at; its host is in small letters, without a dot at the end.

    Raises:
        ForbiddenUrl: a scheme other than http(s), or user-info.
        BadInput: over 8192 characters, backslashes or control characters, no host, or a port that is none.
    """
    if len(url) > LONGEST_URL:
        raise BadInput(f"the image's URL has {len(url)} characters, and {LONGEST_URL} are the most")
    if any(character < " " or character in "\\\x7f" for character in url):
        raise BadInput(f"the image's URL {url[:80]!r} holds backslashes or control characters; encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise BadInput(f"the image's URL {url[:80]!r} is none") from fault
    if parts.scheme not in {"http", "https"}:
        raise ForbiddenUrl(f"images come over http or https, not {parts.scheme[:20]!r}")
    if "@" in parts.netloc:
        raise ForbiddenUrl("the image's URL carries a user name or password; leave them out")
    host = (parts.hostname or "").rstrip(".")
    if not host or "%" in host or " " in host or port == 0:
        raise BadInput(f"the image's URL {url[:80]!r} has no host that can be asked")
    bracketed = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=bracketed if port is None else f"{bracketed}:{port}")


def port_of(parts: SplitResult) -> int:
    """Return the port, told or implied."""
    return parts.port or (443 if parts.scheme == "https" else 80)


def same_origin(url: str, other: str) -> bool:
    """Return whether two URLs have one scheme, host and port, and neither has user-info. False for what is no URL."""
    try:
        ours, theirs = split(url), split(other)
    except BadInput:
        return False
    return (ours.scheme, ours.hostname, port_of(ours)) == (theirs.scheme, theirs.hostname, port_of(theirs))


def check_path(path: str) -> None:
    """Refuse a path that climbs, however often it is encoded.

    Raises:
        ForbiddenUrl: a ".." segment, between slashes or (as Windows writes paths) backslashes, or a NUL; plain, or
            encoded once or twice.
    """
    for _ in range(3):
        if "\0" in path or ".." in path.replace("\\", "/").split("/"):
            raise ForbiddenUrl(f"the image's path {path[:80]!r} climbs out of its folder")
        path = unquote(path)


def _is_public(address: str) -> bool:
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _translated(ip)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address behind a NAT64 one (RFC 6052) or a deprecated IPv4-compatible one (::a.b.c.d)."""
    if ip in ipaddress.ip_network("64:ff9b::/96") or ip in ipaddress.ip_network("::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
