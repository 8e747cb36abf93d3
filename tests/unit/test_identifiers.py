"""Identifiers by chance, and the same ones each time."""

from __future__ import annotations

import re
from dataclasses import replace

import smr_notebook as smr
from smr_notebook.backends.memory.platform import open_memory
from smr_notebook.config import from_machine
from smr_notebook.control.registering import reserve_identifier
from smr_notebook.values.identifiers import random_identifier, seeded_identifiers


def test_a_seed_gives_the_same_identifiers_each_time() -> None:
    first, second, other = seeded_identifiers("ci"), seeded_identifiers("ci"), seeded_identifiers("others")
    drawn = [first() for _ in range(50)]
    assert drawn == [second() for _ in range(50)]
    assert len(set(drawn)) == 50
    assert other() not in drawn
    assert all(re.fullmatch(r"[0-9a-f]{8}", one) for one in [*drawn, random_identifier()])


def test_an_identifier_that_is_taken_is_not_given_again() -> None:
    backend = open_memory()
    taken = [reserve_identifier(replace(backend, draw=seeded_identifiers("ci"))) for _ in range(3)]
    assert len(set(taken)) == 3
    assert taken[0] == seeded_identifiers("ci")()


def test_a_session_draws_as_its_settings_say() -> None:
    backend = open_memory()
    seeded = smr.Session(settings=replace(from_machine({}), ci_seed="ci"), backend=backend)
    assert seeded.backend.draw() == seeded_identifiers("ci")()
    assert smr.Session(settings=replace(from_machine({}), ci_seed=""), backend=backend).backend.draw is random_identifier
