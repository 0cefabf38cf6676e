"""Messages, and the errors in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError, ObjectNotFoundError, RunError, ThrottledError, WorkerLostError
from penstock.launching import messages


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers()), max_size=4))
def test_messages_travel_as_they_are(message):
    frame = messages.encode(message)
    assert messages.body_length(messages.header_of(frame)) == len(frame)
    assert messages.decode(frame) == message


@pytest.mark.parametrize("frame", [b"", b"[]", b"{", b"\xff", b"3"])
def test_what_is_no_message_is_refused(frame):
    with pytest.raises(ValueError, match=r"."):
        messages.decode(frame)


@pytest.mark.parametrize("error", [ObjectNotFoundError("gone", uri="k"), ThrottledError("slow"), RunError("no")])
def test_errors_keep_their_class_on_the_way(error):
    back = messages.to_error(messages.from_error(error))
    assert type(back) is type(error)
    assert str(error) in str(back)


def test_a_lost_worker_keeps_its_rank_host_and_cause():
    error = WorkerLostError(3, "load2", "killed by SIGKILL")
    back = messages.to_error(messages.from_error(error))
    assert isinstance(back, WorkerLostError)
    assert (back.rank, back.host, back.cause) == (3, "load2", "killed by SIGKILL")


def test_other_errors_of_a_worker_become_a_run_error():
    for error in (ValueError("defect"), ConfigError(["a", "b"])):
        back = messages.to_error(messages.from_error(error))
        assert isinstance(back, RunError)
        assert type(error).__name__ in str(back)


def test_a_frame_that_is_no_frame_is_refused():
    with pytest.raises(ValueError, match="something else"):
        messages.body_length(b"GET ")
