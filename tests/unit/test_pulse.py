"""One thread beats for all, lets go of who leaves, and keeps the watchdog quiet."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from smr_notebook.control.pulse import Pulse, Watch
from smr_notebook.testing.waiting import wait_until


class Heart:
    def __init__(self, act: Callable[[], float], watch: Watch | None = None) -> None:
        self.beats = 0
        self.threads: set[int] = set()
        self.watch = watch
        self.patience = 60.0 if watch else 0.0
        self._act = act

    def beat(self) -> float:
        self.beats += 1
        self.threads.add(threading.get_ident())
        return self._act()


def test_one_thread_beats_for_many() -> None:
    pulse, hearts = Pulse(), [Heart(lambda: 0.001) for _ in range(5)]
    for heart in hearts:
        pulse.join(heart, first=0.0)
    wait_until(lambda: all(heart.beats > 3 for heart in hearts))
    for heart in hearts:
        pulse.leave(heart)
    assert len({thread for heart in hearts for thread in heart.threads}) == 1


def test_a_heart_that_joins_later_and_is_due_earlier_is_not_kept_waiting() -> None:
    pulse, slow, quick = Pulse(), Heart(lambda: math.inf), Heart(lambda: math.inf)
    pulse.join(slow, first=3600.0)
    pulse.join(quick, first=0.0)
    wait_until(lambda: quick.beats == 1)
    assert slow.beats == 0


def test_who_leaves_waits_for_the_beat_under_way_and_gets_no_other() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held() -> float:
        begun.set()
        go_on.wait(20)
        return 0.0

    pulse, heart, left = Pulse(), Heart(held), threading.Event()
    pulse.join(heart, first=0.0)
    assert begun.wait(20)

    def leave() -> None:
        pulse.leave(heart)
        left.set()

    leaver = threading.Thread(target=leave)
    leaver.start()
    assert not left.wait(0.02)
    go_on.set()
    leaver.join(20)
    assert left.is_set()
    bystander = Heart(lambda: 0.001)
    pulse.join(bystander, first=0.0)
    wait_until(lambda: bystander.beats > 3)
    pulse.leave(bystander)
    assert heart.beats == 1


def test_the_watchdog_is_armed_while_somebody_is_at_work_and_called_off_then() -> None:
    calls: list[float] = []
    pulse, heart = Pulse(), Heart(lambda: 0.001, calls.append)
    pulse.join(heart, first=0.001)
    assert calls[:1] == [60.0]
    wait_until(lambda: calls.count(60.0) > 3)
    pulse.leave(heart)
    wait_until(lambda: calls[-1] == 0)
    pulse.join(heart, first=3600.0)
    assert calls[-1] == 60.0
    pulse.leave(heart)
