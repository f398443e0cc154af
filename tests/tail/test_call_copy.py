"""Copies of a call, as layers make them."""

from __future__ import annotations

from dataclasses import fields

from fastclient.observe.timing import CallRecord
from fastclient.target import Target
from fastclient.types import Call, Request


def test_a_copy_has_everything_the_call_has() -> None:
    """No field is left out, and what a layer changes in its copy does not show in the call."""
    record = CallRecord(float, 0.0)
    call = Call(id="x", request=Request(messages=()), target=Target("openai:m"), deadline=1.0, record=record)
    for field in fields(Call):
        setattr(call, field.name, object())
    copy = call.copy()
    assert [getattr(copy, field.name) for field in fields(Call)] == [
        getattr(call, field.name) for field in fields(Call)
    ]
    copy.role = "hedge"
    assert call.role != "hedge"
