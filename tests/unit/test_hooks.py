"""Hooks of functions: what may be one, when it is called and with what, and what is told when it fails."""

from __future__ import annotations

import io
import operator
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import cloudpickle
import pandas as pd
import pytest

import smr_notebook as smr
from smr_notebook.control.failures import describe
from smr_notebook.control.stalls import Worked, stall_failure
from smr_notebook.counting import counting
from smr_notebook.dataflow.code import capture, takes_source, travelling_functions
from smr_notebook.dataflow.combining import FunctionCombiner
from smr_notebook.dataflow.frames.programs import FrameProgram, program_of_frames
from smr_notebook.dataflow.functions import Functions, UserCodeError
from smr_notebook.dataflow.hooks import MAP, REDUCE, Hooked, arranged
from smr_notebook.dataflow.joined_programs import JoinedProgram, core_of
from smr_notebook.dataflow.mending import Mended, mended
from smr_notebook.dataflow.meter import AttemptStopped, Meter
from smr_notebook.dataflow.opening import NAMES, opened
from smr_notebook.dataflow.pair_programs import AggregatedPairs, PairProgram, program_of_pairs
from smr_notebook.dataflow.yields import proved_of
from smr_notebook.errors import PairShapeError, PlanError
from smr_notebook.model import UNSORTED, FailureKind, Phase
from smr_notebook.sessions.mapped_inputs import program_over


class Log:
    """What was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def setup(self) -> str:
        self.calls.append("setup")
        return "state"

    def teardown(self, state: str) -> None:
        self.calls.append(f"teardown {state}")

    def prepare(self) -> None:
        self.calls.append("prepare")

    def clear(self) -> None:
        self.calls.append("clear")


def of_record(record: str) -> Iterator[tuple[str, int]]:
    yield record, 1


def with_state(state: str, record: str) -> Iterator[tuple[str, str]]:
    yield record, state


def with_source(state: str, source: str, record: str) -> Iterator[tuple[str, str]]:
    yield record, f"{state} {source}"


def summed(key: str, values: Iterator[int]) -> int:
    return sum(values)


def summed_with_state(state: str, key: str, values: Iterator[int]) -> str:
    return f"{state} {key} {sum(values)}"


class Scorer:
    """A context manager that is called."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.open = False

    def __enter__(self) -> Self:
        self.log.calls.append("enter")
        self.open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.log.calls.append(f"exit {kind.__name__ if kind else 'well'}")
        return True

    def __call__(self, record: str) -> Iterator[tuple[str, bool]]:
        yield record, self.open


def map_of(program: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = program.functions.map
    return function


# ---------------------------------------------------------------- what may be hooked


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param({"function": 5, "setup": print}, "hooked needs a function; got 5", id="no function"),
        pytest.param({"function": of_record}, "has nothing to hook", id="no hook"),
        pytest.param({"function": smr.hooked(of_record, teardown=lambda: None), "setup": list}, "of_record is hooked already", id="twice"),
        pytest.param({"function": of_record, "setup": 5}, "setup must be a function, or None; got 5", id="setup is none"),
        pytest.param({"function": of_record, "setup": of_record}, "setup must return what it made", id="setup yields"),
        pytest.param({"function": of_record, "teardown": of_record}, "teardown gives no pairs: of_record yields", id="teardown yields"),
        pytest.param({"function": of_record, "setup": summed}, "setup is called with no argument; summed takes more", id="setup takes"),
        pytest.param({"function": of_record, "teardown": lambda state: None}, "called with no argument", id="nothing to get"),
        pytest.param({"function": of_record, "setup": list, "teardown": summed}, "called with what setup returned", id="takes two"),
    ],
)
def test_what_cannot_be_hooked_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        smr.hooked(arguments.pop("function"), **arguments)


def test_a_coroutine_function_is_no_hook() -> None:
    async def connect() -> None: ...

    with pytest.raises(PlanError, match="is a coroutine function"):
        smr.hooked(of_record, setup=connect)


@pytest.mark.parametrize(
    ("function", "bare", "takes", "source"),
    [
        pytest.param(of_record, MAP, False, False, id="map of a record"),
        pytest.param(with_state, MAP, True, False, id="map with state"),
        pytest.param(with_source, MAP, True, True, id="map with state and source"),
        pytest.param(print, MAP, False, False, id="builtin"),
        pytest.param(summed, REDUCE, False, True, id="reduce"),
        pytest.param(summed_with_state, REDUCE, True, True, id="reduce with state"),
    ],
)
def test_a_function_that_takes_one_argument_more_gets_what_setup_returns(function: Any, bare: int, takes: bool, source: bool) -> None:
    found = arranged(smr.hooked(function, setup=Log().setup), bare)
    assert (found.takes_state, takes_source(found)) == (takes, source)
    assert not arranged(smr.hooked(of_record, teardown=Log().clear), bare).takes_state


def test_without_a_setup_two_arguments_are_source_and_record() -> None:
    found = arranged(smr.hooked(with_state, teardown=Log().clear), MAP)
    assert (found.takes_state, takes_source(found)) == (False, True)


def test_functions_that_take_more_than_there_is_are_refused() -> None:
    with pytest.raises(PlanError, match="map must take"):
        program_of_pairs(smr.hooked(lambda a, b, c, d: None, setup=list), None, None)
    with pytest.raises(PlanError, match="reduce must take"):
        program_of_pairs(of_record, smr.hooked(lambda a, b, c, d: None, setup=list), None)
    with pytest.raises(PlanError, match="reduce of map_frames must take"):
        program_of_frames(None, smr.hooked(lambda a, b, c: None, setup=list), by="a", frame="pandas", columns=None)


# ---------------------------------------------------------------- when it is called


def test_an_attempt_is_set_up_once_and_torn_down_once() -> None:
    log = Log()
    program = program_of_pairs(smr.hooked(with_state, setup=log.setup, teardown=log.teardown), summed, None)
    with opened(program, ("map", "combine")) as ready:
        assert log.calls == ["setup"]
        assert [list(map_of(ready)(record)) for record in "ab"] == [[("a", "state")], [("b", "state")]]
        assert log.calls == ["setup"]
    assert log.calls == ["setup", "teardown state"]


def test_a_program_without_hooks_stays_what_it_is() -> None:
    program = program_of_pairs(of_record, summed, summed)
    with opened(program, ("map", "reduce", "combine")) as ready:
        assert ready is program


def test_only_the_functions_that_are_called_are_set_up() -> None:
    maps, reduces = Log(), Log()
    hooks = (smr.hooked(of_record, setup=maps.prepare), smr.hooked(summed_with_state, setup=reduces.setup, teardown=reduces.clear))
    program = program_of_pairs(*hooks, None)
    with opened(program, ("reduce",)) as ready:
        assert isinstance(ready, PairProgram)
        assert ready.functions.reduce is not None
        assert ready.functions.reduce("a", iter([1, 2])) == "state a 3"
    assert (maps.calls, reduces.calls) == ([], ["setup", "clear"])


def test_a_reduce_that_combines_as_well_is_set_up_where_it_combines() -> None:
    log = Log()
    program = program_of_pairs(of_record, smr.hooked(summed, setup=log.prepare), True)  # noqa: FBT003 - as users say it
    with opened(program, ("map", "combine")) as ready:
        assert isinstance(ready, PairProgram)
        assert (ready.functions.combine, ready.functions.reduce) == (summed, program.functions.reduce)
    assert log.calls == ["prepare"]


@pytest.mark.parametrize("reduce", [len, smr.sum, None], ids=["len", "smr.sum", "none"])
def test_a_built_in_aggregation_goes_with_a_map_that_has_hooks(reduce: Any) -> None:
    log = Log()
    program = program_of_pairs(smr.hooked(with_state, setup=log.setup, teardown=log.teardown), reduce, None)
    assert isinstance(program, AggregatedPairs) == (reduce is not None)
    with opened(program, ("map",)) as ready:
        assert list(map_of(ready)("a")) == [("a", "state")]
    assert log.calls == ["setup", "teardown state"]


def test_a_context_manager_that_is_called_is_entered_and_left() -> None:
    log = Log()
    program = program_of_pairs(Scorer(log), None, None)
    assert isinstance(map_of(program), Hooked)
    with opened(program, ("map",)) as ready:
        assert list(map_of(ready)("a")) == [("a", True)]
        assert proved_of(map_of(ready)).pairs
    with pytest.raises(AttemptStopped), opened(program, ("map",)):
        raise AttemptStopped("cancelled")  # which __exit__ would swallow
    assert log.calls == ["enter", "exit well", "enter", "exit AttemptStopped"]


def test_functions_of_frames_have_hooks() -> None:
    def scaled(factor: int, frame: pd.DataFrame) -> pd.DataFrame:
        return frame * factor

    program = program_of_frames(
        smr.hooked(scaled, setup=lambda: 3), smr.hooked(scaled, setup=lambda: 2), by="a", frame="pandas", columns=None
    )
    with opened(program, ("map", "reduce")) as ready:
        assert isinstance(ready, FrameProgram)
        assert ready.functions.reduce is not None
        assert ready.functions.reduce(map_of(ready)(pd.DataFrame({"a": [1]})))["a"].tolist() == [6]
    assert not program.functions.map_takes_source


# ---------------------------------------------------------------- several inputs


def joined(logs: list[Log], after: Log, *, parsed: bool = False) -> JoinedProgram:
    """Two inputs whose `map` has hooks, and between them one whose `map` has none; a `reduce` with hooks that combines as well."""
    maps = [smr.hooked(with_state, setup=log.setup, teardown=log.teardown) for log in logs]
    reduce = smr.hooked(summed, setup=after.prepare, teardown=after.clear)
    parse = smr.formats.parse(iter) if parsed else smr.formats.text()
    inputs = [smr.mapped(maps[0], "a"), smr.mapped(of_record, "b"), smr.mapped(maps[1], "c", format=parse)]
    program = program_over(None, reduce, True, UNSORTED, input=inputs)  # noqa: FBT003 - as users say it
    assert isinstance(program, JoinedProgram)
    return program


def functions_of(program: Any, inlet: int) -> Functions:
    found: Any = core_of(program, inlet)
    functions: Functions = found.functions
    return functions


@pytest.mark.parametrize(("inlet", "called"), [(0, 0), (1, None), (2, 1)])
@pytest.mark.parametrize("parsed", [False, True], ids=["read by us", "parsed"])
def test_of_several_inputs_a_task_sets_up_the_one_that_it_maps_and_the_combiner_of_all(
    inlet: int, called: int | None, parsed: bool
) -> None:
    logs, after = [Log(), Log()], Log()
    program = joined(logs, after, parsed=parsed)
    with opened(program, NAMES[Phase.MAP], inlet=inlet) as ready:
        assert [log.calls for log in logs] == [["setup"] if place == called else [] for place in range(2)]
        assert after.calls == ["prepare"]
        assert list(functions_of(ready, inlet).map("a") or ()) == [("a", 1 if called is None else "state")]
        combiner = ready.combiner()
        assert isinstance(combiner, FunctionCombiner)
        assert functions_of(ready, 0).combine is summed, "what all of them combine with"
    assert [log.calls[1:] for log in logs] == [["teardown state"] if place == called else [] for place in range(2)]
    assert after.calls == ["prepare", "clear"]


def test_of_several_inputs_a_reduce_task_sets_up_the_reduce_once_and_no_map() -> None:
    logs, after = [Log(), Log()], Log()
    with opened(joined(logs, after), NAMES[Phase.REDUCE], inlet=0) as ready:
        assert functions_of(ready, 0).reduce is summed
    assert ([log.calls for log in logs], after.calls) == ([[], []], ["prepare", "clear"])


def test_where_any_of_several_inputs_may_be_mapped_all_are_set_up() -> None:
    logs, after = [Log(), Log()], Log()
    with opened(joined(logs, after), ("map",)) as ready:
        assert [list(functions_of(ready, inlet).map("a") or ()) for inlet in range(3)] == [[("a", "state")], [("a", 1)], [("a", "state")]]
    assert ([log.calls for log in logs], after.calls) == ([["setup", "teardown state"]] * 2, [])


def test_of_several_inputs_those_that_were_set_up_are_torn_down_when_one_fails() -> None:
    log = Log()
    maps = [smr.hooked(with_state, setup=log.setup, teardown=log.teardown), smr.hooked(of_record, setup=lambda: 1 / 0)]
    program = program_over(None, None, None, UNSORTED, input=[smr.mapped(map, "a") for map in maps])
    with pytest.raises(UserCodeError, match="the setup of map"), opened(program, ("map",)):
        pass
    assert log.calls == ["setup", "teardown state"]


def test_called_by_itself_a_hooked_function_is_set_up_for_that_call() -> None:
    log = Log()
    score = smr.hooked(with_state, setup=log.setup, teardown=log.teardown)
    assert [list(score(record)) for record in "ab"] == [[("a", "state")], [("b", "state")]]
    assert log.calls == ["setup", "teardown state"] * 2
    assert smr.hooked(with_source, setup=log.setup)("file", "a").__next__() == ("a", "state file")
    assert smr.hooked(summed, setup=log.prepare)("a", iter([1, 2])) == 3
    with pytest.raises(ZeroDivisionError):
        smr.hooked(of_record, setup=lambda: 1 / 0)("a")


def test_a_bytecode_proof_is_not_lost_by_hooks() -> None:
    for function in (of_record, with_state):
        with opened(program_of_pairs(smr.hooked(function, setup=Log().setup), None, None), ("map",)) as ready:
            assert proved_of(map_of(ready)) == proved_of(function)
            assert proved_of(function).pairs


def test_functions_are_mended_with_hooks_and_without() -> None:
    log = Log()
    program = program_of_pairs(smr.hooked(with_state, setup=log.setup), summed, None)
    with opened(mended(program, Mended(map=of_record)), ("map",)) as ready:
        assert map_of(ready) is of_record
    with opened(mended(program, Mended(reduce=smr.hooked(summed_with_state, setup=log.setup))), ("reduce",)) as ready:
        assert isinstance(ready, PairProgram)
        assert ready.functions.reduce is not None
        assert ready.functions.reduce("a", iter([1])) == "state a 1"


def test_hooks_travel_with_what_they_use() -> None:
    factor = 7

    def load() -> int:
        return factor

    program = program_of_pairs(smr.hooked(with_state, setup=load, teardown=lambda state: None), None, None)
    assert load in list[Any](travelling_functions(program))
    assert "factor" in dict(capture(program).report.captured)
    assert pickle.loads(cloudpickle.dumps(program)).functions.map.setup() == 7
    with pytest.raises(PlanError, match="map_setup uses `file`"), io.FileIO(__file__) as file:
        capture(program_of_pairs(smr.hooked(of_record, setup=lambda: file), None, None))


# ---------------------------------------------------------------- when it fails


def fails(*_: object) -> None:
    raise ValueError("no model")


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        pytest.param({"setup": fails}, "the setup of map", id="setup"),
        pytest.param({"teardown": fails}, "the teardown of map", id="teardown"),
        pytest.param({"setup": Log().setup, "teardown": fails}, "the teardown of map", id="teardown with state"),
    ],
)
def test_a_hook_that_fails_is_named(hooks: dict[str, Any], told: str) -> None:
    program = program_of_pairs(smr.hooked(of_record, **hooks), None, None)
    with pytest.raises(UserCodeError) as caught, opened(program, ("map",)):
        pass
    failure = describe(caught.value, {})
    assert (failure.kind, failure.type, failure.function, failure.record) == (FailureKind.USER, "ValueError", told, "")
    assert failure.frames[-1].function == "fails"


@pytest.mark.parametrize("error", [KeyError("first"), KeyboardInterrupt(), AttemptStopped("cancelled")], ids=["error", "interrupt", "stop"])
def test_what_ended_the_attempt_is_told_and_not_what_failed_behind_it(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    program = program_of_pairs(smr.hooked(of_record, teardown=fails), smr.hooked(summed, teardown=log.clear), None)
    with pytest.raises(type(error)) as caught, opened(program, ("map", "reduce")):
        raise error
    assert caught.value is error
    assert log.calls == ["clear"]
    assert "The teardown of map failed, too" in caplog.text
    assert "no model" in caplog.text


def test_what_was_set_up_is_torn_down_when_the_next_fails() -> None:
    log = Log()
    program = program_of_pairs(smr.hooked(of_record, setup=log.setup, teardown=log.teardown), summed, smr.hooked(summed, setup=fails))
    with pytest.raises(UserCodeError, match="the setup of combine"), opened(program, ("map", "combine")):
        pass
    assert log.calls == ["setup", "teardown state"]


def test_none_is_never_passed_on() -> None:
    program = program_of_pairs(smr.hooked(with_state, setup=Log().prepare), None, None)
    with pytest.raises(UserCodeError) as caught, opened(program, ("map",)):
        pass
    assert isinstance(caught.value.__cause__, PairShapeError)
    assert "setup returned None, and with_state takes" in str(caught.value.__cause__)


@pytest.mark.parametrize("given", [[("a", 1)], iter([]), {"a": 1}, ("a", 1)], ids=["list", "iterator", "dict", "pair"])
def test_pairs_of_a_teardown_are_refused_and_not_dropped(given: object) -> None:
    program = program_of_pairs(smr.hooked(of_record, teardown=lambda: given), None, None)
    with pytest.raises(UserCodeError) as caught, opened(program, ("map",)):
        pass
    assert "teardown gives no pairs: It returned" in str(caught.value.__cause__)


def test_a_method_of_what_was_set_up_tears_it_down() -> None:
    made: list[dict[str, int]] = []

    def load() -> dict[str, int]:
        made.append({"a": 1})
        return made[-1]

    for teardown in (dict.clear, operator.methodcaller("clear"), lambda model: model.clear()):
        program = program_of_pairs(smr.hooked(lambda model, record: [(record, model[record])], setup=load, teardown=teardown), None, None)
        with opened(program, ("map",)) as ready:
            assert map_of(ready)("a") == [("a", 1)]
    assert made == [{}, {}, {}]


@pytest.mark.parametrize("given", [None, 0, True, "closed", []], ids=repr)
def test_whatever_else_a_teardown_returns_is_nothing(given: object) -> None:
    with opened(program_of_pairs(smr.hooked(of_record, teardown=lambda: given), None, None), ("map",)):
        pass


def test_what_enter_returns_must_be_called() -> None:
    class Wrong(Scorer):
        def __enter__(self) -> Any:
            return 5

    with pytest.raises(UserCodeError) as caught, opened(program_of_pairs(Wrong(Log()), None, None), ("map",)):
        pass
    assert "__enter__ of Wrong must return what is called" in str(caught.value.__cause__)


def test_a_hook_that_hangs_is_named() -> None:
    meter, seen = Meter(), []

    def hangs() -> None:
        failure = stall_failure(Worked(meter, 0, Phase.MAP, {}), 60.0)
        seen.append((failure.type, failure.function))

    with opened(program_of_pairs(smr.hooked(of_record, setup=hangs, teardown=hangs), None, None), ("map",), meter=meter):
        assert meter.place() is None
    assert seen == [("TaskTimeoutError", "the setup of map"), ("TaskTimeoutError", "the teardown of map")]


def test_what_a_setup_counts_stays_when_the_first_record_fails() -> None:
    meter = Meter()
    program = program_of_pairs(smr.hooked(of_record, setup=partial(smr.count_up, "setups")), None, None)
    with counting(meter.counts), opened(program, ("map",), meter=meter):
        smr.count_up("records")
        meter.counts.drop()
    assert meter.counts.items() == (("setups", 1),)
