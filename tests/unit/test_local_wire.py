"""Frames of the local service survive however the stream cuts them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smr_notebook.backends.local.wire import Channel, Inbox, Kind, pack, read_frame

FRAMES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=50)), max_size=8)


@settings(max_examples=min(50, settings().max_examples))
@given(frames=FRAMES, cuts=st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_frames_come_back_whole_wherever_the_stream_is_cut(frames: list[tuple[Kind, bytes]], cuts: list[int]) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    stream = b"".join(pack(kind, body) for kind, body in frames)
    received = []
    for cut in cuts:
        theirs.sendall(stream[:cut])
        stream = stream[cut:]
        received += channel.receive()
    theirs.sendall(stream)
    theirs.close()
    while not channel.closed:
        received += channel.receive()
    channel.close()
    assert received == frames


def test_what_does_not_go_out_at_once_goes_out_later() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    body = bytes(5_000_000)
    channel.send(pack(Kind.RUN, body))
    pending = [channel.pending]
    received = bytearray()
    while len(received) < len(body) + 5:
        received += theirs.recv(1 << 20)
        channel.flush()
    pending.append(channel.pending)
    assert pending == [True, False]
    assert bytes(received) == pack(Kind.RUN, body)
    channel.close()
    theirs.close()


def test_sending_to_a_closed_end_is_noticed_by_reading_only() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.close()
    channel.send(pack(Kind.WAKE))
    assert not channel.pending
    assert channel.receive() == []
    assert channel.closed
    channel.close()


def test_a_reader_is_told_of_the_end_even_in_the_middle_of_a_frame() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(pack(Kind.INVOKE, b"whole") + pack(Kind.INVOKE, b"cut")[:-1])
    theirs.close()
    assert read_frame(ours) == (Kind.INVOKE, b"whole")
    with pytest.raises(EOFError):
        read_frame(ours)
    ours.close()


def test_whoever_waits_for_a_call_has_something_to_do_once() -> None:
    service, worker = socket.socketpair()
    inbox = Inbox(worker)
    idled: list[str] = []

    def idle() -> None:
        idled.append("once")
        service.sendall(pack(Kind.RUN, b"first") + pack(Kind.RUN, b"second"))

    assert inbox.next_call(after=0.0, idle=idle) == b"first"
    assert inbox.next_call(after=0.0, idle=idle) == b"second"
    assert idled == ["once"]
    service.close()
    worker.close()
