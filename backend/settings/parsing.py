"""From a variable's text to a value. A fault's words follow the name and the value: "SAMLOOP_VIEWS='9' is not ..."."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from backend.settings.bounds import Bounds


def http_url() -> BeforeValidator:
    """An http(s) URL without credentials; a slash at its end is dropped."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("is not an http(s) URL; write for example http://localhost:8080")
        if "@" in parts.netloc:
            raise ValueError("carries a user name or password; leave them out")
        return text.rstrip("/")

    return _of_text(parse)


def redis_address() -> BeforeValidator:
    """The address of a Redis; a password in it may stay."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            # An @ behind the host: a password's / # or ? ended the host, and errors would show its beginning as one.
            is_whole = parts.scheme == "unix" or "@" not in parts.path + parts.query + parts.fragment
            usable = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0 and is_whole
        except ValueError:  # its words may hold a piece of a password
            usable = False
        if not usable:
            raise ValueError(
                "is not a redis://, rediss:// or unix:// URL; a password's / # ? and @ must be encoded"
            ) from None
        return text

    return _of_text(parse)


def one_of(*allowed: str) -> BeforeValidator:
    """One of these names."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is none of {', '.join(allowed)}")
        return text

    return _of_text(parse)


def integer(bounds: Bounds) -> BeforeValidator:
    """A whole number in the bounds."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"-?[0-9]{1,12}", value) else float("nan")
        if isinstance(value, int | float) and value not in bounds:
            raise ValueError(f"is not a whole number {bounds}")
        return value

    return BeforeValidator(parse)


def number(bounds: Bounds) -> BeforeValidator:
    """A number in the bounds."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = float("nan")
        if isinstance(value, int | float) and value not in bounds:
            raise ValueError(f"is not a number {bounds}")
        return value

    return BeforeValidator(parse)


def flag() -> BeforeValidator:
    """True for 1, true and yes; false for 0, false and no, in any case of letters."""

    def parse(text: str) -> bool:
        if text.lower() not in {"1", "0", "true", "false", "yes", "no"}:
            raise ValueError("is not true or false")
        return text.lower() in {"1", "true", "yes"}

    return _of_text(parse)


def folder() -> BeforeValidator:
    """An absolute path, from a path (with ~) or a file:/// URL."""
    return _of_text(_folder)


def folders() -> BeforeValidator:
    """Several folders, separated as PATH separates them."""
    return _of_text(lambda text: tuple(_folder(part) for part in text.split(os.pathsep) if part))


def host_names() -> BeforeValidator:
    """Names of hosts, separated by commas, in lower case."""
    return _of_text(lambda text: tuple(part.strip().lower() for part in text.split(",") if part.strip()))


def xdg_folder(variable: str, fallback: str) -> Path:
    """Our folder below the one that the XDG variable names; `fallback` is relative to the user's home."""
    return Path(os.environ.get(variable) or Path.home() / fallback) / "samloop"


def _folder(text: str) -> Path:
    text = text.removeprefix("file://") if text.startswith("file:///") else text
    if "://" in text:
        raise ValueError("is a URL; this version keeps it in a folder: name a path, or a file:///folder")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as fault:
        raise ValueError("names the home of a user who has none here") from fault


def _of_text(parse: Callable[[str], object]) -> BeforeValidator:
    """Parse text; a value that code gives is left to its type."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)
