"""Ids from outside: what is accepted comes back as it was written, and nothing else gets through."""

import contextlib
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.ids import (
    LARGEST_PROJECT_ID,
    JobId,
    ProjectId,
    VersionName,
    find_project_id,
    is_version_of,
    parse_label_studio_project,
    parse_project_id,
    shorten_version,
)

project_ids = st.integers(1, LARGEST_PROJECT_ID).map(ProjectId)
bases = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(string.ascii_letters + string.digits),
        st.text(string.ascii_letters + string.digits + "._-", max_size=79),
    ),
)
versions = st.builds(
    VersionName,
    base=bases,
    project_id=project_ids,
    number=st.integers(1, 10**9 - 1),
    sha6=st.text("0123456789abcdef", min_size=6, max_size=6),
)
NO_PROJECTS = (
    *(None, "", "../../x", "1\n", " 1", "+1", "1_0", "07", "1.", ".1", "-1", 0, "0", -1, 1.5, True, [], {}),
    *("\u0661", "1e3", "1" * 13, LARGEST_PROJECT_ID + 1),
)


@given(project_id=project_ids)
def test_a_project_comes_back_from_every_form_that_it_is_written_in(project_id: ProjectId) -> None:
    assert parse_project_id(project_id) == parse_project_id(str(project_id)) == project_id
    assert find_project_id(str(project_id)) == project_id
    assert parse_label_studio_project(project_id) == parse_label_studio_project(str(project_id)) == project_id
    assert parse_label_studio_project(f"{project_id}.1795418479") == project_id


@pytest.mark.parametrize("value", NO_PROJECTS)
def test_anything_else_is_no_project(value: Any) -> None:
    for parse in (parse_project_id, parse_label_studio_project):
        with pytest.raises(BadInput, match="not a project's number, such as 1"):
            parse(value)
    assert not isinstance(value, str) or find_project_id(value) is None


def test_only_label_studio_may_add_when_a_project_was_created() -> None:
    assert parse_label_studio_project("7.1795418479") == 7
    with pytest.raises(BadInput, match=r"'7\.1795418479', not a project's number"):
        parse_project_id("7.1795418479")
    assert find_project_id("7.1795418479") is None


def test_a_number_of_five_thousand_digits_is_no_project() -> None:
    """And is not written into the error: that alone would raise."""
    with pytest.raises(BadInput, match="project is int, not a project's number"):
        parse_project_id(10**5000)


@given(text=st.text())
def test_no_text_gives_anything_but_a_project_within_the_bound_or_a_refusal(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert 1 <= parse_label_studio_project(text) <= LARGEST_PROJECT_ID


@given(name=versions)
def test_a_versions_name_is_read_as_it_was_written(name: VersionName) -> None:
    assert VersionName.parse(str(name)) == name
    assert shorten_version(str(name)) == name.short == f"v{name.number}-{name.sha6}"
    assert VersionName.is_short(name.short)
    assert not VersionName.is_short(str(name))
    assert is_version_of(str(name), name.project_id)
    assert not is_version_of(str(name), name.project_id % LARGEST_PROJECT_ID + 1)


@given(base=versions, name=versions)
def test_whose_a_version_is_stands_at_the_end_of_its_name(base: VersionName, name: VersionName) -> None:
    """The base may be a checkpoint of another project: SAMLOOP_MODEL takes one."""
    nested = f"{str(base)[:80]}-p{name.project_id}-{name.short}"
    assert VersionName.parse(nested).project_id == name.project_id
    assert VersionName.parse(nested).number == name.number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mobile-sam",
        "sam-v2",
        "mobile-sam-offline-0a1b2c",
        "v3-0a1b2c",
        "../../etc/passwd",
        "/etc-p1-v1-0a1b2c",
        "mobile-sam-p0-v1-0a1b2c",
        "mobile-sam-p1-v0-0a1b2c",
        "mobile-sam-p1-v01-0a1b2c",
        "mobile-sam-p1-v1-0A1B2C",
        "mobile-sam-p1-v1-0a1b2c\n",
        "mobile-sam-p1-v1-0a1b2c/..",
        f"{'x' * 81}-p1-v1-0a1b2c",
    ],
)
def test_any_other_text_is_no_version_and_is_shown_as_it_is(text: str) -> None:
    """`sam-v2` is a base model: its name is no short version."""
    assert VersionName.find(text) is None
    assert shorten_version(text) == text
    assert not is_version_of(text, 1)
    with pytest.raises(BadInput, match="is not the name of a version, such as mobile-sam-p1-v3-0a1b2c"):
        VersionName.parse(text)


@given(text=st.text() | versions.map(str))
def test_what_is_read_as_a_version_is_written_back_the_same(text: str) -> None:
    name = VersionName.find(text)
    assert name is None or str(name) == text


@given(kind=st.sampled_from(["train", "refresh"]), project_id=project_ids, generation=st.integers(1, 10**12 - 1))
def test_a_jobs_id_is_read_as_it_was_written(kind: Any, project_id: ProjectId, generation: int) -> None:
    job_id = JobId(kind=kind, project_id=project_id, generation=generation)
    assert JobId.find(str(job_id)) == job_id


@pytest.mark.parametrize("text", ["", "train", "train-7", "train-7-0", "train-07-1", "other-7-1", "train-7-1\n"])
def test_any_other_text_is_no_job(text: str) -> None:
    assert JobId.find(text) is None
