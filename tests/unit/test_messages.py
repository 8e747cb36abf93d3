"""Messages: small, versioned, and nothing but pointers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.control.messages import (
    AttemptRange,
    DeathNotice,
    Message,
    Role,
    attempt_message,
    coordinate,
    decode,
    encode,
    route,
    size_of,
)
from smr_notebook.errors import CorruptObjectError, FormatVersionError
from smr_notebook.model import AttemptId, Phase, TaskId

messages = st.builds(
    Message,
    st.sampled_from(Role),
    st.text(max_size=20),
    st.integers(0, 10**6),
    st.integers(0, 999),
    restarts=st.integers(0, 9),
    then=st.lists(st.builds(AttemptRange, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 999)), max_size=3).map(tuple),
)


@given(messages)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


def test_the_bytes_of_a_message_are_those_of_version_1() -> None:
    assert encode(attempt_message("3f9a", AttemptId(TaskId(Phase.MAP, 7), 2))) == b'{"v":1,"role":"map","job":"3f9a","task":7,"attempt":2}'
    assert encode(coordinate("3f9a")) == b'{"v":1,"role":"coordinator","job":"3f9a"}'


@pytest.mark.parametrize("phase", Phase)
def test_a_worker_learns_which_attempt_it_makes(phase: Phase) -> None:
    attempt = AttemptId(TaskId(phase, 7), 2)
    assert attempt_message("3f9a", attempt).attempt_id == attempt


def test_a_death_notice_tells_who_died_of_what() -> None:
    message = replace(coordinate("3f9a"), restarts=2)
    notice = {"failed": encode(message).decode(), "invocation": "local-7", "reason": "killed by signal 9"}
    assert decode(json.dumps(notice).encode()) == DeathNotice(message, "local-7", "killed by signal 9")


def test_each_role_has_a_function_and_notices_are_for_the_one_that_may_call_all() -> None:
    routes = {role: route(encode(Message(role, "3f9a"))) for role in Role}
    workers = {Role.MAP: "mapper", Role.MERGE: "reducer", Role.REDUCE: "reducer"}
    assert routes == {Role.DRIVER: "driver", Role.COORDINATOR: "coordinator", **workers}
    notice = {"failed": encode(Message(Role.MAP, "3f9a", 7, 1)).decode(), "invocation": "local-7", "reason": "killed by signal 9"}
    assert route(json.dumps(notice).encode()) == "coordinator"


def test_another_version_is_refused() -> None:
    with pytest.raises(FormatVersionError, match="version 2"):
        decode(b'{"v":2,"role":"map","job":"3f9a"}')


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff\xfe", b'{"v":1,"role":"king","job":"a"}', b'{"v":"1"}', b'{"failed":"?"}'])
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(CorruptObjectError, match="no message"):
        decode(payload)


def test_a_size_of_memory_travels_and_chooses_the_function() -> None:
    attempt = AttemptId(TaskId(Phase.REDUCE, 7), 2)
    payload = encode(attempt_message("3f9a", attempt, size=1))
    message = decode(payload)
    assert isinstance(message, Message)
    assert (message.size, message.attempt_id, size_of(payload), route(payload)) == (1, attempt, 1, "reducer-large")
    assert size_of(encode(attempt_message("3f9a", attempt))) == size_of(b"nothing") == 0


def test_a_notice_may_say_that_memory_was_the_cause_and_where_the_process_was() -> None:
    failed = encode(attempt_message("3f9a", AttemptId(TaskId(Phase.MAP, 7), 2), size=1)).decode()
    notice = {"failed": failed, "invocation": "w", "reason": "ended", "memory": True, "resident": 7, "stack": "Fatal"}
    told = decode(json.dumps(notice).encode())
    assert isinstance(told, DeathNotice)
    assert (told.memory, told.resident, told.stack, told.message.size) == (True, 7, "Fatal", 1)
    assert route(json.dumps(notice).encode()) == "coordinator"
