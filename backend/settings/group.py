"""A group of settings: frozen values. A setting has a variable and a text, and may be a secret."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, Self

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from backend.settings.parsing import Parser


class Row(NamedTuple):
    """A row of the settings table."""

    variable: str
    default: str
    values: str
    text: str


class SettingsGroup(BaseSettings):
    """A part of the settings. The constructor reads no variables; `read` takes them from a mapping."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,  # it may be a secret
        case_sensitive=True,
        env_ignore_empty=True,  # compose files write absent variables so
        enable_decoding=False,  # lists have separators, as `parsing` says, and are not JSON
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Ignore the environment: code that constructs a group wants its defaults."""
        return (init_settings,)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> tuple[Self | None, list[str]]:
        """Read the group from the variables; or return None and every fault, as sentences that hide secrets."""
        texts = _Variables(cls, environ)()
        try:
            return cls(**texts), []
        except ValidationError as fault:
            return None, [
                cls._sentence(str(error["loc"][0]), texts, error.get("ctx", {}).get("error", error["msg"]))
                for error in fault.errors(include_url=False)
            ]

    @classmethod
    def rows(cls) -> list[Row]:
        """Return the group's rows of the settings table, in the order of the fields."""
        return [
            Row(_variable(field), _default(field), _values(field), field.description or "")
            for field in cls.model_fields.values()
        ]

    @classmethod
    def _sentence(cls, variable: str, texts: Mapping[str, str], why: object) -> str:
        secrets = {_variable(field) for field in cls.model_fields.values() if not field.repr}
        text = texts[variable]
        shown = "***" if variable in secrets or "@" in text else repr(text[:200])
        return f"{variable}={shown} {why}"


def setting(variable: str, text: str, *, default: Any, secret: bool = False, shown: str | None = None) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Make a field of a group: its variable, its text for the settings table, and its default.

    A function may make the default; the table then shows `shown`.
    """
    field = partial(
        Field,
        validation_alias=variable,
        description=text,
        repr=not secret,
        json_schema_extra=None if shown is None else {"shown": shown},
    )
    return field(default_factory=default) if callable(default) else field(default)


class _Variables(EnvSettingsSource):
    """The given environment instead of the process's."""

    def __init__(self, group: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(group)
        self.env_vars = {name: text for name, text in environ.items() if text}


def _variable(field: FieldInfo) -> str:
    return str(field.validation_alias)


def _default(field: FieldInfo) -> str:
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["shown"])
    if field.default in (None, (), PydanticUndefined):
        return ""
    if isinstance(field.default, float):
        return f"{field.default:g}"
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _values(field: FieldInfo) -> str:
    return next((part.values for part in field.metadata if isinstance(part, Parser)), "")
