"""TLS in front of a server that speaks none: a certificate authority, and a door that decrypts."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_ENDINGS = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)


class Authority:
    """A certificate authority, whose certificate is the file `ca` in a folder."""

    def __init__(self, folder: Path, *, name: str = "samloop tests") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = folder / "ca.pem"
        certificate = self._describe(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.ca.write_bytes(_write(certificate.sign(self._key, hashes.SHA256())))

    def make_context(self, *, host: str = "127.0.0.1") -> ssl.SSLContext:
        """Return what a server needs that answers under this address."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        certificate = self._describe(name, key).add_extension(addresses, critical=False)
        both = self._folder / "server.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        both.write_bytes(secret + _write(certificate.sign(self._key, hashes.SHA256())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context

    def _describe(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )


@contextmanager
def open_tls_door(socket_path: str, context: ssl.SSLContext) -> Iterator[int]:
    """Decrypt what arrives at a port, whose number this yields, and pass it on to the server at a Unix socket."""
    ready, ports = threading.Event(), list[int]()
    ending = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with suppress(*_ENDINGS):
                while data := await source.read(1 << 16):
                    target.write(data)
                    await target.drain()
            target.close()
        except asyncio.CancelledError:  # the door closes, and waits for no farewell
            target.transport.abort()
            raise

    async def answer(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(socket_path)
        await asyncio.gather(pass_on(source, to_server), pass_on(from_server, target))

    async def listen() -> None:
        loops.append(asyncio.get_running_loop())
        loops[0].set_exception_handler(lambda *_: None)  # clients that break off are what some tests are about
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await ending.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(listen()), name="tls-door", daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield ports[0]
    finally:
        loops[0].call_soon_threadsafe(ending.set)
        thread.join(60)


def _write(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
