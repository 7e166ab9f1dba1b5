"""What travels along with a job: the request's id, and the context variables that the app has named."""

from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

import pytest

import prefork
from prefork.errors import Unsendable
from prefork.jobs import context


@dataclass
class FakeRequest:
    id: str


user: ContextVar[str] = ContextVar("user", default="nobody")
tenant: ContextVar[int] = ContextVar("tenant")


@pytest.fixture(autouse=True)
def nothing_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_carried", {})


def collect(**values: Any) -> tuple[str | None, dict[str, Any]] | None:
    """What is collected where `user`, `tenant` and `origin` have these values."""

    def inside() -> tuple[str | None, dict[str, Any]] | None:
        for variable in (user, tenant, context.origin):
            if variable.name.removeprefix("prefork.") in values:
                variable.set(values[variable.name.removeprefix("prefork.")])
        return context.collect()

    return copy_context().run(inside)


def test_without_a_request_and_variables_nothing_travels() -> None:
    assert collect() is None
    context.carry(user, tenant)
    assert collect() is None


def test_the_id_of_the_request_travels() -> None:
    assert collect(origin=FakeRequest("r-1")) == ("r-1", {})


def test_the_variables_the_app_has_named_travel_and_no_others() -> None:
    context.carry(user)
    assert collect(user="ann", tenant=3) == (None, {"user": "ann"})
    context.carry(tenant)
    assert collect(origin=FakeRequest("r"), user="ann", tenant=3) == ("r", {"user": "ann", "tenant": 3})


def test_a_variable_that_was_never_set_has_its_default_there() -> None:
    context.carry(user)
    assert collect(origin=FakeRequest("r")) == ("r", {})
    assert context.make({}).run(user.get) == "nobody"


def test_a_variable_may_be_named_again_but_not_another_of_its_name() -> None:
    context.carry(user, user)
    context.carry(user)
    other: ContextVar[str] = ContextVar("user")
    with pytest.raises(ValueError, match="another context variable named 'user' is carried already"):
        context.carry(other)


def test_a_job_sees_the_variables_as_they_were_and_changes_only_its_own() -> None:
    context.carry(user, tenant)
    made = context.make({"user": "ann", "tenant": 3})
    assert made.run(user.get) == "ann"
    assert made.run(tenant.get) == 3
    made.run(user.set, "bob")
    assert context.make({"user": "ann"}).run(user.get) == "ann"
    assert user.get() == "nobody"


def test_a_variable_that_is_not_known_there_is_named_with_what_to_do() -> None:
    with pytest.raises(Unsendable, match=r"^context variable 'user' is not known in the offloader: call carry\(\)"):
        context.make({"user": "ann"})


def test_requests_are_known_to_jobs_once_somebody_asks_for_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before: it costs each request something."""
    monkeypatch.setattr(context, "tracking", False)
    assert prefork.Offload is not None
    assert not context.tracking
    assert prefork.offload is not None
    assert context.tracking
