"""The bugs that `make mutants` plants can still be planted: the list must not rot."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

import smr_notebook

PACKAGE = Path(smr_notebook.__file__).parent
ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads((ROOT / "tests" / "mutants" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["name"] for mutant in MUTANTS])
def test_a_mutant_can_be_planted_in_exactly_one_place_and_makes_a_difference(mutant: dict[str, Any]) -> None:
    for edit in (mutant, *mutant.get("also", ())):
        text = (PACKAGE / edit["file"]).read_text(encoding="utf-8")
        assert text.count(edit["old"]) == 1
        compile(text.replace(edit["old"], edit["new"]), edit["file"], "exec")
        assert edit["old"] != edit["new"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["name"] for mutant in MUTANTS])
def test_the_tests_that_must_catch_a_mutant_are_there(mutant: dict[str, list[str]]) -> None:
    assert mutant["tests"]
    for tests in mutant["tests"]:
        assert (ROOT / shlex.split(tests)[0]).exists()


def test_each_mutant_has_a_name_of_its_own() -> None:
    names = [mutant["name"] for mutant in MUTANTS]
    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 25
