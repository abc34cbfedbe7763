"""Which addresses an image may come from. Anybody who can import tasks writes their URLs."""

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from backend.errors import BadInput, ForbiddenUrl, Upstream

LONGEST_URL = 8192

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# What `is_global` lets pass, in one Python or another, although it is not one host on the internet.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's own services, for the virtual machines on a host
        "192.0.0.0/24",  # protocol assignments, among them Oracle's metadata (192.0.0.192)
        "192.88.99.0/24",  # relays of 6to4
        "64:ff9b:1::/48",  # NAT64 into a local network
        "2001::/23",  # protocol assignments
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)
_NAT64, _COMPATIBLE = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # the third quarter of an address that ends in an IPv4 address

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared, not listened at

Resolver = Callable[[str, int], Collection[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be fetched, provided the connection goes to `address` alone."""

    url: str
    address: str


def resolve_host(host: str, port: int) -> tuple[str, ...]:
    """Return a host's addresses as the system resolves them.

    Raises:
        Upstream: the host has no address.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise Upstream(f"the host {host[:80]!r} does not exist") from fault
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))


def check_url(url: str, *, allowed_hosts: Collection[str] = (), resolver: Resolver = resolve_host) -> Target:
    """Allow an http(s) URL whose host is public, or is named in `allowed_hosts` ("host" or "host:port").

    The host is resolved once, here. Connect to the address in the result: the name may resolve to another address
    later.

    Raises:
        ForbiddenUrl: the URL has another scheme or user-info, or any address of its host is not public: loopback,
            private, link-local (cloud metadata), multicast or reserved, including addresses mapped or tunnelled into
            IPv6.
        BadInput: the text is not a URL.
        Upstream: the host does not resolve.
    """
    parts = split_url(url)
    host, port = str(parts.hostname), find_port(parts)
    addresses = tuple(resolver(host, port))
    if not addresses:
        raise Upstream(f"the host {host[:80]!r} does not exist")
    named = {name.lower() for name in allowed_hosts}
    bracketed = f"[{host}]" if ":" in host else host
    if named.isdisjoint({host, bracketed, f"{bracketed}:{port}"}):
        for address in addresses:
            if not _is_public(address):
                raise ForbiddenUrl(
                    f"{host[:80]} is not a public address, and images may come only from public addresses; "
                    f"to allow it name {bracketed[:80]}:{port} in SAMLOOP_IMAGE_HOSTS"
                )
    return Target(url, addresses[0])


def check_peer(address: str, *, host: str, allowed_hosts: Collection[str] = ()) -> None:
    """Allow an open connection to a public address, or to a `host` ("host:port") named in `allowed_hosts`.

    Raises:
        ForbiddenUrl: the address is not public, and its host is not named.
    """
    named = {name.lower() for name in allowed_hosts}
    if named.isdisjoint({host, host.rpartition(":")[0]}) and not _is_public(address):
        raise ForbiddenUrl(f"{host[:80]} is not at a public address; to allow it, name it in SAMLOOP_IMAGE_HOSTS")


def split_url(url: str) -> SplitResult:
    """Split a URL. Its host is in lower case, without a trailing dot.

    Raises:
        ForbiddenUrl: the URL has user-info, or a scheme other than http(s).
        BadInput: the URL has over 8192 characters, backslashes, control characters, no host, or an invalid port.
    """
    if len(url) > LONGEST_URL:
        raise BadInput(f"the image's URL has {len(url)} characters, and at most {LONGEST_URL} are allowed")
    if any(character < " " or character in "\\\x7f" for character in url):
        raise BadInput(f"the image's URL {url[:80]!r} contains backslashes or control characters; encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise BadInput(f"the image's URL {url[:80]!r} is not a URL: write http://host/path") from fault
    if not parts.scheme:
        raise ForbiddenUrl(f"the image's address {url[:80]!r} has no scheme: write http://host/path")
    if parts.scheme not in {"http", "https"}:
        raise ForbiddenUrl(f"images may come by http or https, not by {parts.scheme[:20]!r}")
    if "@" in parts.netloc:
        raise ForbiddenUrl("the image's URL contains a user name or password; leave them out")
    host = (parts.hostname or "").rstrip(".")
    if not host or "%" in host or " " in host or port == 0:
        raise BadInput(f"the image's URL {url[:80]!r} has no valid host")
    bracketed = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=bracketed if port is None else f"{bracketed}:{port}")


def find_port(parts: SplitResult) -> int:
    """Return the port: the URL's own, else its scheme's."""
    return parts.port or (443 if parts.scheme == "https" else 80)


def is_same_origin(url: str, other: str) -> bool:
    """Return whether two URLs share scheme, host and port, without user-info. False for text that is not a URL."""
    try:
        ours, theirs = split_url(url), split_url(other)
    except BadInput:
        return False
    return (ours.scheme, ours.hostname, find_port(ours)) == (theirs.scheme, theirs.hostname, find_port(theirs))


def is_same_site(url: str, other: str) -> bool:
    """Return whether two URLs lead to the same site.

    They share an origin; or they differ in http and https alone, as behind a proxy that adds TLS; or their hosts are
    names of this machine, such as localhost and 127.0.0.1, and their ports are the same.
    """
    if is_same_origin(url, other):
        return True
    try:
        ours, theirs = split_url(url), split_url(other)
    except BadInput:
        return False
    if ours.hostname == theirs.hostname:
        return {find_port(ours), find_port(theirs)} == {80, 443}
    are_here = {ours.hostname, theirs.hostname} <= _THIS_MACHINE
    return are_here and (ours.scheme, find_port(ours)) == (theirs.scheme, find_port(theirs))


def check_path(path: str) -> None:
    """Refuse a path that climbs, plain or encoded.

    Raises:
        ForbiddenUrl: the path has a NUL, or a ".." segment between slashes or Windows' backslashes, plain or encoded
            once or twice.
    """
    for _ in range(3):
        if "\0" in path or ".." in path.replace("\\", "/").split("/"):
            raise ForbiddenUrl(f"the image's path {path[:80]!r} climbs out of its folder; write it without '..'")
        path = unquote(path)


def _is_public(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        reached.is_global
        and not reached.is_multicast
        and not reached.is_reserved
        and not any(reached in network for network in _SPECIAL)
        for reached in _list_reached(ip)
    )


def _list_reached(ip: IpAddress) -> tuple[IpAddress, ...]:
    """Return the addresses that a connection to this one may reach: the IPv4 address within it, where it holds one.

    IPv4-mapped (::ffff:a.b.c.d), 6to4, Teredo, NAT64 (RFC 6052), the deprecated IPv4-compatible form (::a.b.c.d), and
    ISATAP (RFC 5214), where the address itself counts too.
    """
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    if inner is None and (ip in _NAT64 or ip in _COMPATIBLE):
        inner = last
    if inner is not None:
        return (inner,)
    return (ip, last) if (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP else (ip,)
