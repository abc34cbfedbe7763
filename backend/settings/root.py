"""One frozen Settings, read from the environment once; an error names every fault.

The fields of the groups make the tables of settings (`samloop settings`, docs/settings.md).
"""

import difflib
import os
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from backend.errors import SettingsError
from backend.settings.answering import CacheSettings, ImageSettings, SamSettings, ServingSettings
from backend.settings.group import Row, SettingsGroup
from backend.settings.learning import PredictionsSettings, TrainingSettings
from backend.settings.outside import BackendSettings, LabelStudioSettings, QueueSettings, RegistrySettings


class Settings(BaseModel):
    """All settings. Its repr hides secrets.

    `Settings(sam_model="mobile-sam", disk_mib=64)` names single settings by group and field, or by the field alone
    where no other group has it. All others have their defaults: only `from_env` reads the environment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    label_studio: LabelStudioSettings = Field(default_factory=LabelStudioSettings)
    backend: BackendSettings = Field(default_factory=BackendSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    sam: SamSettings = Field(default_factory=SamSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    serving: ServingSettings = Field(default_factory=ServingSettings)
    image: ImageSettings = Field(default_factory=ImageSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    predictions: PredictionsSettings = Field(default_factory=PredictionsSettings)

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - the fields of the groups check their types
        super().__init__(**_in_groups(values))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the environment; an empty variable counts as absent.

        Raises:
            SettingsError: a value is invalid; the message names every such value.
        """
        environ = os.environ if environ is None else environ
        groups: dict[str, SettingsGroup | None] = {}
        faults: list[str] = []
        for name, group in _groups().items():
            groups[name], group_faults = group.read(environ)
            faults += group_faults
        if bool(environ.get("BASIC_AUTH_USER")) != bool(environ.get("BASIC_AUTH_PASS")):
            faults.append("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or neither")
        if faults:
            raise SettingsError("; ".join(faults))
        return cls(**groups)

    def replace(self, **values: Any) -> Self:  # noqa: ANN401 - as the constructor
        """Return the settings with these values changed. Names and checks are the constructor's."""
        groups = {name: dict(getattr(self, name)) for name in _groups()}
        for name, fields in _in_groups(values).items():
            groups[name] |= dict(fields)
        return type(self)(**groups)


def settings_tables() -> dict[str, list[Row]]:
    """Return the rows of every group's settings, by what the group is about."""
    return {(group.__doc__ or "").partition(".")[0]: group.rows() for group in _groups().values()}


def settings_rows() -> list[Row]:
    """Return a row for every setting."""
    return [row for rows in settings_tables().values() for row in rows]


def report_unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence for every SAMLOOP_ variable that is not a setting, with the nearest name."""
    environ = os.environ if environ is None else environ
    known = [row.variable for row in settings_rows()]
    sentences = []
    for name in sorted(set(environ) - set(known)):
        if name.startswith("SAMLOOP_"):
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            sentences.append(f"{name} is not a setting and has no effect: {hint}`samloop settings` lists all settings")
    return sentences


def setting_names() -> dict[str, tuple[str, str]]:
    """Return every name that the constructor accepts, with the group and field that it means."""
    pairs = [(name, field) for name, group in _groups().items() for field in group.model_fields]
    alone = [field for _, field in pairs]
    return {f"{group}_{field}": (group, field) for group, field in pairs} | {
        field: (group, field) for group, field in pairs if alone.count(field) == 1
    }


def _groups() -> dict[str, type[SettingsGroup]]:
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup)
    }


def _in_groups(values: Mapping[str, object]) -> dict[str, Any]:
    """Sort values into their groups; whole groups stay as they are."""
    names = setting_names()
    sorted_values: dict[str, Any] = {name: value for name, value in values.items() if name not in names}
    for name, value in values.items():
        if name in names:
            group, field = names[name]
            sorted_values.setdefault(group, {})[field] = value
    return sorted_values
