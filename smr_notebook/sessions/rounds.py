"""One output by rounds of reducing: `reducers="tree"`.

Theory. In AWS Labs' reference reducers reduce the outputs of reducers, round after round, until one output is left. That is right exactly
for a `reduce` that may be run on parts, which is the law of a combiner. Here the rounds are those of a combiner: each map task combines its
pairs, and what it spilled; then one reduce task merges what they left, as sorted streams in bounded memory, so that no round between is
needed.
"""

from __future__ import annotations

from typing import Final

from smr_notebook.dataflow.joined_programs import core_of
from smr_notebook.dataflow.pair_programs import PairProgram
from smr_notebook.dataflow.programs import Program
from smr_notebook.errors import ConfigError, PlanError
from smr_notebook.values.suggestions import near

TREE: Final = "tree"
"""What `reducers` says for one output."""


def combining(combine: object, reducers: object, *, reduce: object) -> object:
    """Return the combiner of a job: `reduce` itself where there is to be one output and nobody names another."""
    return True if reducers == TREE and combine is None and reduce is not None else combine


def read_reducers(value: object) -> int | str:
    """Return a number of partitions, or `TREE`, as somebody said it. Raises `ConfigError`."""
    if value == TREE or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    wanted = f"a whole number, 1 or more, or {TREE!r} for one output"
    raise ConfigError(f"reducers must be {wanted}; got {value!r}.{near(value, [TREE])}")


def one_output(reducers: int | str | None, program: Program) -> int | None:
    """Return the number of partitions that somebody asked for.

    Args:
        reducers: What they said.
        program: What the job runs.

    Raises:
        ConfigError: It is a word that means nothing.
        PlanError: There is to be one output, and what is reduced may not be reduced in rounds.
    """
    if not isinstance(reducers, str):
        return reducers
    read_reducers(reducers)
    core = core_of(program)
    if not program.reduces or not program.combines:
        raise PlanError("reducers='tree' reduces in rounds, and there is no reduce that may be run on parts. Give one, or a combine.")
    if isinstance(core, PairProgram) and (core.functions.reduce_yields or core.functions.combine_yields):
        raise PlanError(
            "reducers='tree' reduces what was reduced, and a reduce that yields rows may give rows of other keys, or none. Let it return a "
            "value, or say reducers=1: one reduce task gets all groups as they are."
        )
    return 1
