"""Completion as IPython asks for it: a matcher that answers for lines of ours, alone and in order, and for no other line.

The older way, a hook for `complete_command`, is mixed with the answers of other completers, and JupyterLab then shows no menu behind
`%%smr --`. Where IPython is too old for matchers that see the whole cell, there is no completion.

Rules of this module:

* Where no word of ours can stand, what is typed is its own completion: IPython lets others answer where there is none, and they would offer
  Python's names.
* Tab opens no session: that may take long, and whoever runs a cell would wait for it. What is known of an open one is offered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from smr_notebook.control.ledger import list_jobs
from smr_notebook.control.registering import is_of
from smr_notebook.notebook.completing import Completions, Places, complete, line_to_complete
from smr_notebook.notebook.lookups import Lookups
from smr_notebook.notebook.paths import MOST_NAMES

if TYPE_CHECKING:
    from smr_notebook.ports import Backend
    from smr_notebook.sessions.session import Session

_NAME: Final = "smr_matcher"
_KEYS_SECONDS: Final = 30.0
_JOBS_SECONDS: Final = 2.0
"""For how long what was listed counts: objects, and jobs, of which a cell may just have submitted one."""

_MOST_JOBS: Final = 50


def register_matcher(
    shell: Any, session: Callable[[], Session | None], *, ready: Callable[[], bool], lookups: Lookups | None = None
) -> None:
    """Complete the lines of `%%smr` and `%smr` in a shell, where its IPython can; in place of what was registered before.

    Args:
        shell: The interactive shell.
        session: Gives the session whose jobs and objects are meant, if one is open: nobody waits at a Tab for one to be opened.
        ready: Tells whether it may be called: not while an error waits that a cell is to be told.
        lookups: Keeps what was listed.
    """
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher  # noqa: PLC0415 - older ones have none
    except ImportError:
        return
    places = Asking(session, ready, lookups or Lookups(now=time.monotonic))

    @context_matcher(identifier=_NAME)  # type: ignore[untyped-decorator, unused-ignore]
    def match(context: Any) -> dict[str, Any]:
        found = _found(shell, context, places)
        if found is None:
            return {"completions": []}
        words = found.words or (found.fragment,)
        return {
            "completions": [SimpleCompletion(text=word, type="") for word in words],
            "matched_fragment": found.fragment,
            "suppress": True,
            "ordered": True,
        }

    others = [one for one in shell.Completer.custom_matchers if getattr(one, "matcher_identifier", "") != _NAME]
    shell.Completer.custom_matchers[:] = [*others, match]


def _found(shell: Any, context: Any, places: Asking) -> Completions | None:
    """Return what could stand at the cursor; `None` where that is on no line of ours."""
    text = line_to_complete(context.full_text, line=context.cursor_line, column=context.cursor_position)
    if text is None:
        return None
    hidden = shell.user_ns_hidden
    namespace = {name: value for name, value in shell.user_ns.items() if hidden.get(name, places) is not value}
    try:
        return complete(text, Places(namespace, places.jobs, places.keys))
    except Exception:  # noqa: BLE001 - objects of the user's may raise when they are looked at
        return Completions(text.rpartition(" ")[2], ())


class Asking:
    """Asks a session for jobs and objects, of which a bounded number is looked at.

    Args:
        session: Gives the session, if there is one; it must not wait.
        ready: Tells whether it may be called.
        lookups: Keeps what was listed.
    """

    def __init__(self, session: Callable[[], Session | None], ready: Callable[[], bool], lookups: Lookups) -> None:
        self._session = session
        self._ready = ready
        self._lookups = lookups

    def jobs(self) -> Sequence[str]:
        """Return identifiers and names of one's own jobs, the latest first."""
        session = self._session() if self._ready() else None
        return self._lookups.get("jobs", lambda: _jobs_of(session.backend), keep=_JOBS_SECONDS) if session is not None else ()

    def keys(self, scheme: str, folder: str) -> Sequence[str]:
        """Return the keys of the first objects below a folder."""
        session = self._session() if self._ready() else None
        if session is None:
            return ()
        backend = session.backend

        def ask() -> Sequence[str]:
            return [found.key for found in islice(backend.sources[scheme].find(f"{folder}/"), MOST_NAMES)]

        return self._lookups.get((scheme, folder), ask, keep=_KEYS_SECONDS)


def _jobs_of(backend: Backend) -> Sequence[str]:
    own = [entry for entry in reversed(list_jobs(backend.table)) if is_of(entry, backend.user)][:_MOST_JOBS]
    return list(dict.fromkeys([*(entry.job for entry in own), *(entry.name for entry in own if entry.name)]))
