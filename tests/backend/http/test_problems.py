"""Every error ends as a status, headers and one sentence, and of a bug nothing but where to look."""

import json
import logging

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from backend.errors import BadInput, Busy, KeyRefused, NotAuthorized, SamloopError, TooLarge
from backend.http.path_ids import ProjectId
from backend.http.problems import invalid, problem_of, problem_response


class Body(BaseModel):
    project: int


@pytest.fixture
def fault() -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        Body.model_validate({"project": "seven"})
    return raised.value


def test_one_of_our_errors_is_told_as_it_is() -> None:
    error = BadInput("the task has no image")
    assert problem_of(error, request="POST /predict") is error
    answer = problem_response(error)
    assert (answer.status_code, json.loads(answer.body)) == (400, {"error": "the task has no image"})


def test_a_value_of_the_wrong_kind_is_told_with_its_place(fault: ValidationError) -> None:
    assert str(invalid(fault, within=("body",))).startswith("body.project: Input should be a valid integer")
    over_http = RequestValidationError([{**fault.errors()[0], "loc": ("body", "project")}])
    problem = problem_of(over_http, request="POST /train")
    assert (problem.status, str(problem)) == (400, str(invalid(fault, within=("body",))))


def test_a_rule_of_ours_is_told_without_pydantics_words() -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(ProjectId).validate_python("abc")
    assert str(invalid(raised.value, within=("path",))) == "project is 'abc', not a project's number, such as 1"


def test_a_bug_is_logged_with_its_traceback_and_told_without(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        problem = problem_of(ZeroDivisionError("s3cret"), request="POST /predict")
    assert type(problem) is SamloopError
    assert "s3cret" not in str(problem)
    assert "the server's log" in str(problem)
    (record,) = caplog.records
    assert "POST /predict failed" in record.message
    assert record.exc_info


def test_who_may_try_again_is_told_when() -> None:
    assert problem_response(Busy("too many", retry_after_s=7)).headers["Retry-After"] == "7"
    assert "Retry-After" not in problem_response(BadInput("no")).headers


def test_only_wrong_credentials_of_the_caller_ask_for_others() -> None:
    assert problem_response(NotAuthorized("no")).headers["WWW-Authenticate"] == 'Basic realm="samloop"'
    assert "WWW-Authenticate" not in problem_response(KeyRefused("Label Studio refuses our key")).headers


@pytest.mark.parametrize(("error", "is_read"), [(TooLarge("large"), True), (BadInput("no"), False)])
def test_a_connection_whose_body_nobody_reads_is_closed(error: SamloopError, is_read: bool) -> None:
    assert problem_response(error, is_read=is_read).headers["Connection"] == "close"
    assert "Connection" not in problem_response(BadInput("no")).headers
