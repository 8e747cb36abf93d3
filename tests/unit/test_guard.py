"""Which worker is ended for its memory, and what is said of it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from smr_notebook.backends.local.guard import Guard, Working, heaviest, overweight
from smr_notebook.backends.local.machine import available_bytes, memory_bytes, out_of_memory_kills, resident_bytes, resident_bytes_of
from smr_notebook.testing.waiting import wait_until

RESIDENTS = st.dictionaries(st.integers(1, 9), st.integers(0, 1_000), max_size=9)


@given(RESIDENTS, st.integers(1, 1_000))
def test_a_limit_that_somebody_said_holds_for_each(residents: dict[int, int], limit: int) -> None:
    over = overweight(residents, dict.fromkeys(residents, limit))
    assert all((worker in over) == (resident > limit) for worker, resident in residents.items())


@given(RESIDENTS, st.integers(0, 1_000), st.integers(1, 500), st.integers(1, 500))
def test_for_want_of_memory_the_largest_is_ended_if_it_has_more_than_half_its_share(
    residents: dict[int, int], available: int, reserve: int, share: int
) -> None:
    worker = heaviest(residents, available=available, reserve=reserve, share=share)
    if worker is None:
        assert available >= reserve or all(resident <= share // 2 for resident in residents.values())
    else:
        assert available < reserve
        assert residents[worker] == max(residents.values()) > share // 2


def test_who_takes_no_more_than_it_may_is_left_alone() -> None:
    guard = Guard(machine=8 << 30, share=1 << 30, strict=True)
    working = {1: Working(os.getpid(), 1 << 50), 2: Working(2**22 + 1, 1)}
    assert guard.look(working, 0.0) == []
    working[1] = Working(2**22 + 2, 1)  # a process that has ended takes nothing
    assert guard.look(working, 1.0) == []
    assert guard.fate(1, killed=True) is None


def test_a_fate_says_what_was_taken_and_what_may_be() -> None:
    guard = Guard(machine=8 << 30, share=1 << 30, strict=True)
    code = "from smr_notebook.backends.crash_stacks import CrashStack; CrashStack().take(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        working, looks = {1: Working(child.pid, 1 << 20)}, itertools.count(1.0)
        assert guard.look(working, 0.0) == []
        wait_until(lambda: guard.look(working, next(looks)) == [1])
        child.kill()
    fate = guard.fate(1, killed=True)
    assert fate is not None
    assert fate.resident > 1 << 20
    assert fate.reason.startswith("ended, because it took ")
    assert fate.reason.endswith(" MiB of memory and may take 1 MiB")
    assert guard.fate(1, killed=True) is None, "it is told once"


def test_looks_are_seldom_while_there_is_room() -> None:
    guard = Guard(machine=8 << 30, share=1 << 30, strict=False)
    guard.look({}, 10.0)
    assert 10.0 < guard.due <= 10.5


def test_the_machine_tells_what_there_is() -> None:
    assert 0 < available_bytes() < memory_bytes()
    assert resident_bytes_of(os.getpid()) > resident_bytes() // 2
    assert resident_bytes_of(2**22 + 1) == 0
    assert out_of_memory_kills() >= 0
