"""Parses variables. Error texts continue a sentence: "SAMLOOP_VIEWS='9' is not a whole number from 1 to 8"."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from backend.settings.bounds import Bounds

STORES = ("s3://", "gs://", "az://", "memory://")


@dataclass(frozen=True, slots=True)
class Parser(BeforeValidator):
    """A validator that also says which values it takes, for the settings table; empty where the text has to."""

    values: str = ""


def http_url() -> Parser:
    """Parse an http(s) URL without credentials, and drop a slash at its end."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("is not an http(s) URL; write for example http://localhost:8080")
        if "@" in parts.netloc:
            raise ValueError("contains a user name or password; leave them out")
        return text.rstrip("/")

    return _of_text(parse)


def redis_address() -> Parser:
    """Parse the address of a Redis, which may contain a password."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            # An @ after the host: a / # or ? in the password ended the host too early, and errors would show its start.
            is_whole = parts.scheme == "unix" or "@" not in parts.path + parts.query + parts.fragment
            usable = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0 and is_whole
        except ValueError:  # its message may contain a part of the password
            usable = False
        if not usable:
            raise ValueError(
                "is not a redis://, rediss:// or unix:// URL; percent-encode / # ? and @ in a password"
            ) from None
        return text

    return _of_text(parse)


def one_of(*allowed: str) -> Parser:
    """Accept one of these names."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return text

    return _of_text(parse, values=", ".join(f"`{name}`" for name in allowed))


def integer(bounds: Bounds) -> Parser:
    """Parse a whole number within the bounds."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"-?[0-9]{1,12}", value) else float("nan")
        if isinstance(value, int | float) and value not in bounds:
            raise ValueError(f"is not a whole number {bounds}")
        return value

    return Parser(parse, values=_write_range(bounds))


def number(bounds: Bounds) -> Parser:
    """Parse a number within the bounds."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = float("nan")
        if isinstance(value, int | float) and value not in bounds:
            raise ValueError(f"is not a number {bounds}")
        return value

    return Parser(parse, values=_write_range(bounds))


def flag() -> Parser:
    """Parse 1, true and yes as True, and 0, false and no as False; upper case too."""

    def parse(text: str) -> bool:
        if text.lower() not in {"1", "0", "true", "false", "yes", "no"}:
            raise ValueError("is not true or false")
        return text.lower() in {"1", "true", "yes"}

    return _of_text(parse, values="`true`, `false`")


def folder() -> Parser:
    """Parse a path (with ~) or a file:/// URL as an absolute path."""
    return _of_text(_folder)


def folder_or_store() -> Parser:
    """An absolute path, as `folder`, or the address of an object store without credentials: `s3://bucket/prefix`."""

    def parse(text: str) -> str | Path:
        scheme, separator, place = text.partition("://")
        if not separator or scheme == "file":
            return _folder(text)
        if f"{scheme}://" not in STORES:
            raise ValueError(f"is in no store known here: write a path, or an address with {', '.join(STORES)}")
        if "@" in place or "?" in place or "#" in place:
            raise ValueError(
                "carries credentials or options; leave them out: they come from the variables that the store's own "
                "tools read, such as AWS_ACCESS_KEY_ID"
            )
        if not place.strip("/") or "//" in place or ".." in place.split("/"):
            raise ValueError("names no bucket, or no plain prefix in it; write for example s3://bucket/samloop")
        return f"{scheme}://{place.strip('/')}"

    return _of_text(parse)


def folders() -> Parser:
    """Parse several folders, separated as in PATH."""
    return _of_text(lambda text: tuple(_folder(part) for part in text.split(os.pathsep) if part))


def host_names() -> Parser:
    """Parse host names, separated by commas, into lower case."""
    return _of_text(lambda text: tuple(part.strip().lower() for part in text.split(",") if part.strip()))


def xdg_folder(variable: str, fallback: str) -> Path:
    """Return samloop's folder in the folder that the XDG variable names, or in `fallback` in the user's home."""
    return Path(os.environ.get(variable) or Path.home() / fallback) / "samloop"


def _folder(text: str) -> Path:
    text = text.removeprefix("file://") if text.startswith("file:///") else text
    if "://" in text:
        raise ValueError("is a URL; only a folder can be used here: name a path, or a file:///folder")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as fault:
        raise ValueError("names the home folder of an unknown user") from fault


def _of_text(parse: Callable[[str], object], *, values: str = "") -> Parser:
    """Parse text, and leave other values to the type check."""
    return Parser(lambda value: parse(value) if isinstance(value, str) else value, values=values)


def _write_range(bounds: Bounds) -> str:
    return f"{bounds.lowest} to {bounds.highest}"
