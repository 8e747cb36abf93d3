"""The bugs that `make mutants` plants can still be planted: the list must not rot."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest

import smr_notebook

PACKAGE = Path(smr_notebook.__file__).parent
ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads((ROOT / "tests" / "mutants" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["name"] for mutant in MUTANTS])
def test_a_mutant_can_be_planted_in_exactly_one_place_and_makes_a_difference(mutant: dict[str, str]) -> None:
    text = (PACKAGE / mutant["file"]).read_text(encoding="utf-8")
    assert text.count(mutant["old"]) == 1
    compile(text.replace(mutant["old"], mutant["new"]), mutant["file"], "exec")
    assert mutant["old"] != mutant["new"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["name"] for mutant in MUTANTS])
def test_the_tests_that_must_catch_a_mutant_are_there(mutant: dict[str, list[str]]) -> None:
    assert mutant["tests"]
    for tests in mutant["tests"]:
        assert (ROOT / shlex.split(tests)[0]).exists()


def test_each_mutant_has_a_name_of_its_own() -> None:
    names = [mutant["name"] for mutant in MUTANTS]
    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 25
