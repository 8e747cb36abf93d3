"""Calls that come one by one leave together, all of them, once."""

from __future__ import annotations

import threading

from smr_notebook.calling.batching import FULL, Batches
from smr_notebook.testing.waiting import wait_until


def test_each_call_leaves_once_and_in_order() -> None:
    sent: list[list[int]] = []
    batches: Batches[int] = Batches(sent.append, lambda: 0)
    for number in range(5_000):
        batches.add(number)
    batches.flush()
    assert [number for batch in sent for number in batch] == list(range(5_000))
    assert len(batches) == 0


def test_threads_may_add_at_once() -> None:
    sent: list[list[int]] = []
    batches: Batches[int] = Batches(sent.append, lambda: 0)

    def adds() -> None:
        for number in range(500):
            batches.add(number)

    threads = [threading.Thread(target=adds) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batches.flush()
    assert sorted(number for batch in sent for number in batch) == sorted([*range(500)] * 4)


def test_what_comes_while_a_batch_is_sent_leaves_with_the_next() -> None:
    sent: list[list[int]] = []
    reached, free = threading.Event(), threading.Event()

    def send(batch: list[int]) -> None:
        sent.append(batch)
        reached.set()
        free.wait(60)

    batches: Batches[int] = Batches(send, lambda: 0)
    batches.add(1)
    assert reached.wait(60)
    batches.add(2)
    batches.add(3)
    assert len(batches) == 2
    free.set()
    batches.flush()
    assert sent == [[1], [2, 3]]


def test_what_is_taken_back_is_not_sent() -> None:
    sent: list[list[int]] = []
    reached, free = threading.Event(), threading.Event()

    def send(batch: list[int]) -> None:
        sent.append(batch)
        reached.set()
        free.wait(60)

    batches: Batches[int] = Batches(send, lambda: 0)
    batches.add(1)
    assert reached.wait(60)
    batches.add(2)
    assert batches.take_back() == [2]
    free.set()
    batches.flush()
    assert sent == [[1]]


def test_a_full_batch_does_not_wait() -> None:
    sent: list[int] = []
    batches: Batches[int] = Batches(lambda batch: sent.append(len(batch)), lambda: 1_000)
    for number in range(FULL):
        batches.add(number)
    wait_until(lambda: sum(sent) == FULL)
    batches.flush()


def test_the_thread_ends_when_there_is_nothing_to_send() -> None:
    sent: list[list[int]] = []
    batches: Batches[int] = Batches(sent.append, lambda: 0)
    batches.flush()  # nothing, and no thread
    batches.add(1)
    batches.flush()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "smr-calls-batches"])
    batches.add(2)  # in another one
    batches.flush()
    assert sent == [[1], [2]]


def test_who_sends_may_flush() -> None:
    sent: list[list[int]] = []

    def send(batch: list[int]) -> None:
        batches.flush()
        sent.append(batch)

    batches: Batches[int] = Batches(send, lambda: 0)
    batches.add(1)
    batches.flush()
    assert sent == [[1]]
