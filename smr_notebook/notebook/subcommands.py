"""`%smr`: what can be asked about jobs from any notebook: `jobs`, `status`, `errors`, `timeline`, … And the commands of `deployment`.

A job is named by its identifier, the beginning of it, or its name; without one the latest is meant.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from smr_notebook.errors import ConfigError
from smr_notebook.model import Phase
from smr_notebook.notebook.arguments import MagicParser, Worded, cell_parser, count, split_words, variable
from smr_notebook.notebook.deployment import COMMANDS, command_help, command_parser, run_command
from smr_notebook.notebook.magic import Cells, run_in_cell
from smr_notebook.notebook.mode import Display
from smr_notebook.notebook.settings import settings_table
from smr_notebook.sessions.face import told_settings
from smr_notebook.values.globs import WILD
from smr_notebook.values.spellings import as_option, read_time
from smr_notebook.values.suggestions import near
from smr_notebook.views.housekeeping import cancel_jobs, clean, cost_table
from smr_notebook.views.render import Shown, View, html, text

if TYPE_CHECKING:
    from argparse import Namespace

    from smr_notebook.job.handle import Job
    from smr_notebook.sessions.session import Session


@dataclass(frozen=True, slots=True)
class _Subcommand:
    """A word behind `%smr`: how it is written, what it does, and the method that does it."""

    usage: str
    summary: str
    run: Callable[[LineMagic, Namespace], object]


class LineMagic:
    """What `%smr` does.

    Args:
        shell: The interactive shell.
        session: Gives the session whose jobs are meant.
        cells: Knows the running cell.
        mode: Tells how progress is shown by the running cell.
        run_cell: Runs a `%%smr` cell: its line, its body.
        given: Gives the settings of the notebook.
    """

    def __init__(
        self,
        shell: Any,
        session: Callable[[], Session],
        cells: Cells,
        *,
        mode: Callable[[], Display],
        run_cell: Callable[[str, str], object],
        given: Callable[[], Mapping[str, object]],
    ) -> None:
        self._shell = shell
        self._session = session
        self._cells = cells
        self._mode = mode
        self._run_cell = run_cell
        self._given = given

    def run(self, line: str) -> object:
        """Run one `%smr` line, and return what it shows.

        Raises:
            SmrError: The words are wrong, there is no such job, the job has no result, or a command did not end well.
        """
        __tracebackhide__ = True
        first, *words = split_words(line) or ["help"]
        helping = not {"-h", "--help"}.isdisjoint(words)
        if first in CELLS:
            return self._run_cell(f"{CELLS[first].line} {line.strip().removeprefix(first)}", "")
        if first in COMMANDS:
            return command_help(first) if helping else run_command(first, words, self._mode(), given=self._given())
        first = "help" if first in {"-h", "--help"} else first
        if first not in _SUBCOMMANDS:
            hint = _cell_of(first) or near(first, WORDS)
            raise ConfigError(f"%smr: there is no subcommand {first!r}.{hint} Known: {', '.join(WORDS)}.")
        parser = parser_of(first)
        return Shown(parser.format_help()) if helping else _SUBCOMMANDS[first].run(self, parser.read(words))

    def jobs(self, options: Namespace) -> object:
        """Return the latest jobs as a table."""
        found = self._session().jobs(everyone=options.everyone)
        latest = sorted(found, key=lambda job: job.created, reverse=True)[: options.number]
        rows = [(job.id, job.name, datetime.fromtimestamp(int(job.created), UTC), str(job.state), job.user) for job in latest]
        frame = pd.DataFrame(rows, columns=["job", "name", "created", "state", "user"])
        return frame if options.everyone else frame.drop(columns="user")

    def attach(self, options: Namespace) -> object:
        """Return the job; with `--into`, wait for its result and put it into a variable."""
        return self._shown(self._session().attach(options.id), options.into, goes_on=True)  # what this cell did not start it does not end

    def _shown(self, job: Job, into: str | None, *, goes_on: bool = False) -> object:
        """Return the job; or wait for its result, and put it into a variable."""
        if into is None:
            return job
        goes_on = goes_on or self._cells.lets_go()
        screen = self._cells.screen_for(None)(job, goes_on=goes_on)
        self._shell.user_ns[into] = run_in_cell(job, screen, into, goes_on=goes_on)
        return None

    def status(self, options: Namespace) -> object:
        """Return how far the job is now."""
        job = self._session().attach(options.id)
        view = View(job.id, job.name, job.status(), time.time())
        return Shown(text(view), html(view))

    def so_far(self, options: Namespace) -> object:
        """Return what the tasks that are done would give if they were all."""
        return self._session().attach(options.id).so_far()

    def cancel(self, options: Namespace) -> object:
        """Cancel the job; or all of one's own that have not ended."""
        session = self._session()
        if options.all and options.id is not None:
            raise ConfigError(f"%smr cancel {options.id} --all: one job, or all of yours? Keep one of the two.")
        if not options.all:
            return cancel_jobs([session.attach(options.id)], all_of_them=False)
        return cancel_jobs([session.attach(job.id) for job in session.jobs() if not job.state.ended], all_of_them=True)

    def resume(self, options: Namespace) -> object:
        """Return a job that does what another one left undone."""
        return self._derived(self._session().attach(options.id).resume(), options.into)

    def retry(self, options: Namespace) -> object:
        """Return the same, with functions of the notebook in place of those that failed."""
        given = {name: getattr(options, name) for name in ("map", "reduce", "combine")}
        functions = {name: self._function(name, word) for name, word in given.items() if word is not None}
        return self._derived(self._session().attach(options.id).retry_failed(**functions), options.into)

    def _derived(self, job: Job, into: str | None) -> object:
        """Say what a job takes over, and show it."""
        sys.stdout.write("".join(f"{line}\n" for line in job.warnings))
        return self._shown(job, into)

    def _function(self, name: str, word: str) -> Any:
        if word not in self._shell.user_ns:
            raise ConfigError(f"%smr retry --{name} {word}: the notebook has no {word!r}.{near(word, self._shell.user_ns)}")
        return self._shell.user_ns[word]

    def errors(self, options: Namespace) -> object:
        """Return one sample of each kind of error of the job."""
        return self._session().attach(options.id).errors()

    def debug(self, options: Namespace) -> object:
        """Run what failed in this kernel, so that `%debug` looks into it; return what it gave if it does not fail here."""
        __tracebackhide__ = True
        return self._session().attach(options.id).debug(options.error, bad=options.bad)

    def timeline(self, options: Namespace) -> object:
        """Return when each attempt of the job ran."""
        return self._session().attach(options.id).timeline()

    def skew(self, options: Namespace) -> object:
        """Return how unevenly the pairs of the job lie."""
        return self._session().attach(options.id).skew()

    def logs(self, options: Namespace) -> object:
        """Return what the functions wrote; or, following the job, show it line by line."""
        logs = self._session().attach(options.id).logs(phase=options.phase, task=options.task, follow=options.follow)
        if not options.follow:
            return logs
        for line in logs:
            sys.stdout.write(f"{line}\n")
        return None

    def cost(self, options: Namespace) -> object:
        """Return what the job has cost, and what it was thought to."""
        return cost_table(self._session().attach(options.id))

    def clean(self, options: Namespace) -> object:
        """Remove one's own jobs that ended long enough ago."""
        session = self._session()
        older = session.settings.keep_days * 86_400 if options.older is None else options.older
        return clean(session.backend, older=older)

    def config(self, options: Namespace) -> object:  # noqa: ARG002 - the signature of all subcommands
        """Return the settings in force, with their sources."""
        return settings_table(told_settings(self._given()))

    def help(self, options: Namespace) -> object:  # noqa: ARG002 - as above
        """Return what can be asked."""
        known = usages()
        width = max(len(usage) for usage in known)
        lines = [f"  %smr {usage:<{width}}  {summary}" for usage, summary in known.items()]
        hint = "An ID may be shortened, or be the job's name; without one the latest job is meant. Cells: %%smr --help"
        return Shown("\n".join(["usage:", *lines, "", hint]))


_SUBCOMMANDS = {
    "jobs": _Subcommand("jobs [-n N] [--everyone]", "the latest jobs; of all users", LineMagic.jobs),
    "attach": _Subcommand("attach [ID] [--into VAR]", "the job, live; or its result in a variable", LineMagic.attach),
    "status": _Subcommand("status [ID]", "how far the job is", LineMagic.status),
    "so-far": _Subcommand("so-far [ID]", "what the tasks that are done give: an early answer", LineMagic.so_far),
    "cancel": _Subcommand("cancel [ID | --all]", "stop the job; or all of yours", LineMagic.cancel),
    "resume": _Subcommand("resume [ID] [--into VAR]", "go on from a job that failed or was cancelled", LineMagic.resume),
    "retry": _Subcommand(
        "retry [ID] [--map F] [--reduce F] [--combine F] [--into VAR]", "the same, with mended functions", LineMagic.retry
    ),
    "errors": _Subcommand("errors [ID]", "one sample of each kind of error", LineMagic.errors),
    "debug": _Subcommand("debug [ID] [--error N | --bad N]", "run what failed in this kernel: then %debug looks into it", LineMagic.debug),
    "logs": _Subcommand("logs [ID] [--follow] [--phase P] [--task N]", "what the functions printed, also while they run", LineMagic.logs),
    "timeline": _Subcommand("timeline [ID]", "when each attempt ran, and what became of it", LineMagic.timeline),
    "skew": _Subcommand("skew [ID]", "how unevenly the pairs lie, by partition and key", LineMagic.skew),
    "cost": _Subcommand("cost [ID]", "what the job has cost so far, and what it was thought to", LineMagic.cost),
    "clean": _Subcommand("clean [--older T]", "remove your jobs that ended longer ago (default: keep_days)", LineMagic.clean),
    "config": _Subcommand("config", "the settings in force, and who said so", LineMagic.config),
    "help": _Subcommand("help", "this", LineMagic.help),
}
"""By name, those that a `LineMagic` runs."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A word for a `%%smr` cell without a body: how it is written, what it does, and the option that it stands for."""

    usage: str
    summary: str
    line: str = ""


CELLS: Final = {
    "run": _Cell("run INPUT… --map F [options]", "what a %%smr cell without a body does, with its options"),
    "preview": _Cell("preview [N] INPUT… --map F [options]", "the same with --preview: the first records only, here", "--preview"),
}
"""By name, those that stand for a cell."""

WORDS: Final = (*CELLS, *_SUBCOMMANDS, *COMMANDS)
"""All that can stand behind `%smr`."""


def usages() -> dict[str, str]:
    """Return all that can be asked: how it is written, and what it does."""
    own = {one.usage: one.summary for one in _SUBCOMMANDS.values()}
    cells = {one.usage: one.summary for one in CELLS.values()}
    return cells | own | {one.usage: one.summary for one in COMMANDS.values()}


def parser_of(name: str) -> MagicParser:
    """Return the parser of a subcommand, `run` and those of `deployment` among them. Raises `KeyError`."""
    if name in CELLS:
        return cell_parser()
    if name in COMMANDS:
        return command_parser(name)
    parser = MagicParser(prog=f"%smr {name}", add_help=False, allow_abbrev=False, description=_SUBCOMMANDS[name].summary)
    _add_options(parser, name)
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    return parser


def _cell_of(word: str) -> str:
    """Return what to say to who names an input where a subcommand is wanted."""
    if not {"/", "."} & set(word) and not WILD.search(word):
        return ""
    return f" A job over it is a cell that begins with `%%smr {word}`, or the line `%smr run {word} --map FUNCTION`."


def _add_options(parser: MagicParser, name: str) -> None:
    add = parser.add_argument
    if name == "jobs":
        add("-n", "--number", type=count(1), default=20, metavar="N", help="how many (default: 20)")
        add("--everyone", action="store_true", help="those of all users")
    elif name == "clean":
        add("--older", type=as_option(read_time), metavar="T", help="jobs that ended longer ago than this, such as 2h or 7d")
    elif name not in {"help", "config"}:
        add("id", nargs="?", metavar="ID", help="identifier of the job, its beginning, or its name (default: the latest)")
    if name == "retry":
        for function in ("map", "reduce", "combine"):
            add(f"--{function}", metavar="FUNCTION", help=f"a function of the notebook in place of the job's {function}")
    if name == "cancel":
        add("--all", action="store_true", help="all of your jobs that have not ended")
    if name in {"attach", "resume", "retry"}:
        add("-o", "--into", type=variable, metavar="VAR", help="wait, and put the result into this variable")
    if name == "debug":
        which = parser.add_mutually_exclusive_group()
        which.add_argument("-e", "--error", type=count(0), default=0, metavar="N", help="which of the job's errors, counted from 0")
        which.add_argument("-b", "--bad", type=count(0), metavar="N", help="which of the records left out, counted from 0")
    if name == "logs":
        add("-f", "--follow", action="store_true", help="go on until the job has ended")
        add("--phase", type=Worded(str, tuple(Phase)), metavar="P", help="map or reduce (default: both)")
        add("--task", type=count(0), metavar="N", help="of the tasks with this number only")
