"""The local function service: one background process, one thread, one loop over sockets.

It listens for clients, asks the zygote for workers, hands calls to them and lets `Pool` decide who is next. It never waits but in
its selector, and it imports nothing heavy: an accepted call is acknowledged while the zygote still imports.

The end of a service, whatever the cause: the socket file goes first, so that no client finds it any more; then the zygote, which
takes the workers along; the lock goes with the process. Killed outright, it leaves a socket file that nobody answers, which the
next service replaces.

Started as `python -m smr_notebook.backends.local.service SETTINGS SOCKET LOCK` by `client`. It leaves its parent and says one
word on stdout: `ready`, or `busy` when another service has the lock; or none, and why not in the log (stderr).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name

import msgspec

from smr_notebook.backends.local.address import same_user, sweep, take_lock
from smr_notebook.backends.local.guard import Guard, Working, how_it_ended
from smr_notebook.backends.local.machine import memory_bytes
from smr_notebook.backends.local.pool import Action, Fork, Pool, Retire, Run
from smr_notebook.backends.local.process import run_zygote
from smr_notebook.backends.local.wire import (
    CHILD_BODY,
    EVICT_HEADER,
    FORK_BODY,
    RUN_HEADER,
    SLEEP_BODY,
    Channel,
    Kind,
    Settings,
    Status,
    pack,
)

_STILLBORN_ZYGOTES = 3
_MOST_SPARES = 8
_END_SECONDS = 10.0
_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE


class Service:
    """One service: its sockets, and what to do when one of them has something to say.

    Args:
        settings: What to run, and how much of it at once.
        listener: Where clients come in.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        spares = min(settings.workers, _MOST_SPARES) if settings.tenant else 0  # where nobody asks whose a call is, workers are used again
        self._pool = Pool(settings.workers, settings.seconds, _names(), spares=spares, weights=settings.weights)
        self._sizes = settings.memory_sizes or (settings.memory_bytes,)
        self._guard = Guard(machine=memory_bytes(), share=settings.memory_bytes, strict=settings.strict)
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Channel] = {}
        self._pids: dict[int, int] = {}
        self._watchers: set[Channel] = set()
        self._told = 0
        self._unsent: set[Channel] = set()
        self._tenant: Callable[[bytes], str] = resolve_name(settings.tenant) if settings.tenant else lambda _payload: ""
        self._size: Callable[[bytes], int] = resolve_name(settings.size) if settings.size else lambda _payload: 0
        self._idle_since = time.monotonic()
        self._stopped = False
        self._stillborn = 0
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._selector.register(listener, _READ, self._accept)
        self._watch_signals()
        self._start_zygote()

    def run(self) -> None:
        """Serve until told to end, or idle for long enough."""
        while not self._stopped:
            for key, events in self._selector.select(self._timeout()):
                key.data(events)
            now = time.monotonic()
            hogs = self._guard.look(self._working(), now) if now >= self._guard.due else ()
            for worker in (*self._pool.overdue(now), *hogs):
                self._command(Kind.KILL, worker)
            for action in self._pool.decide(now):
                self._carry_out(action)
            self._tell_watchers()
            self._send_all()
            if not self._pool.empty:
                self._idle_since = now
            elif now - self._idle_since >= self._settings.idle_seconds:
                self._stopped = True

    def close(self) -> None:
        """End the workers and the zygote, and wait for it."""
        self._listener.close()
        zygote = self._zygote_socket
        zygote.settimeout(_END_SECONDS)
        try:
            zygote.shutdown(socket.SHUT_WR)
            while zygote.recv(4096):
                pass
        except OSError:  # it hangs in an import
            os.kill(self._zygote_pid, signal.SIGKILL)
        os.waitpid(self._zygote_pid, 0)

    def _timeout(self) -> float:
        soonest = self._pool.next_time
        if soonest is None:
            soonest = self._idle_since + self._settings.idle_seconds
        if next(self._pool.working(), None) is not None:
            soonest = min(soonest, self._guard.due)
        return max(0.0, soonest - time.monotonic())

    def _working(self) -> dict[int, Working]:
        working = self._pool.working()
        return {worker: Working(self._pids[worker], self._sizes[size]) for worker, size in working if worker in self._pids}

    # ------------------------------------------------------------ clients

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again, or descriptors are short
            return
        if not same_user(connection):
            connection.close()
            return
        self._watch(Channel(connection), self._hear_client)

    def _hear_client(self, channel: Channel) -> None:
        for kind, body in channel.receive():
            if kind is Kind.INVOKE:
                self._pool.submit(body, self._tenant(body), size=self._size(body))
                self._send(channel, pack(Kind.ACCEPTED))
            elif kind is Kind.POST:
                self._pool.submit(body, self._tenant(body), size=self._size(body))
            elif kind is Kind.STATUS:
                self._send(channel, pack(Kind.STATUS, msgspec.json.encode(self._status())))
            elif kind is Kind.WATCH:
                self._watchers.add(channel)
            elif kind is Kind.EVICT:
                (seconds,) = EVICT_HEADER.unpack_from(body)
                self._pool.evict(body[EVICT_HEADER.size :].decode(), time.monotonic() + seconds)
            elif kind is Kind.SHUTDOWN:
                self._stopped = True
        if channel.closed:
            self._watchers.discard(channel)
            self._forget(channel)

    def _tell_watchers(self) -> None:
        if self._told != self._pool.ended_of_nobody:
            self._told = self._pool.ended_of_nobody
            for channel in self._watchers:
                if not channel.pending:  # it does not listen; one word is enough
                    self._send(channel, pack(Kind.WAKE))

    def _status(self) -> Status:
        pool = self._pool
        return Status(
            pid=os.getpid(),
            zygote=self._zygote_pid,
            workers=tuple(self._pids.values()),
            queued=len(pool.queue) + len(pool.notices) + pool.handed,
            running=pool.running,
            sleeping=pool.sleeping,
            ended=pool.ended,
            failed=pool.failed,
            died=pool.died,
            settings=self._settings,
        )

    # ------------------------------------------------------------ workers

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Fork):
            ours, theirs = socket.socketpair()
            self._workers[action.worker] = channel = Channel(ours)
            self._watch(channel, lambda channel: self._hear_worker(action.worker, channel))
            self._command(Kind.FORK, action.worker, theirs)
            theirs.close()
        elif isinstance(action, Run):
            name = action.name.encode()
            deadline = time.time() + self._settings.seconds
            self._send(
                self._workers[action.worker],
                pack(Kind.RUN, RUN_HEADER.pack(deadline, self._sizes[action.call.size], len(name)) + name + action.call.payload),
            )
        elif isinstance(action, Retire):
            self._forget(self._workers.pop(action.worker))
        else:
            self._send(self._workers[action.worker], pack(Kind.WAKE))

    def _hear_worker(self, worker: int, channel: Channel) -> None:
        for kind, body in channel.receive():
            if kind is Kind.SLEEP:
                self._pool.slept(worker, until=time.monotonic() + SLEEP_BODY.unpack(body)[0])
            elif kind is Kind.AWAKE:
                self._pool.awoke(worker)
            else:
                reason = body[1:].decode("utf-8", "replace") if kind is Kind.FAILED else None
                self._pool.finished(worker, time.monotonic(), reason=reason, retires=bool(body[0]))
        if channel.closed:
            self._forget(channel)
            self._pool.leaves(worker)
            self._command(Kind.KILL, worker)  # it lives on if user code closed its socket; its exit follows

    # ------------------------------------------------------------ zygote

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            run_zygote(theirs, self._settings)
        theirs.close()
        self._zygote_pid = pid
        self._zygote_socket = ours
        self._zygote = Channel(ours)
        self._watch(self._zygote, self._hear_zygote)

    def _command(self, kind: Kind, worker: int, connection: socket.socket | None = None) -> None:
        frame = pack(kind, FORK_BODY.pack(worker))
        descriptors = [connection.fileno()] if connection else []
        with contextlib.suppress(OSError):  # a dead zygote is noticed by the end of its socket
            while True:
                try:
                    socket.send_fds(self._zygote_socket, [frame], descriptors)
                except BlockingIOError:
                    self._selector_wait()
                else:
                    return

    def _hear_zygote(self, channel: Channel) -> None:
        for kind, body in channel.receive():
            number, pid, status = CHILD_BODY.unpack_from(body)
            if kind is Kind.FORKED:
                self._pids[number] = pid
                self._stillborn = 0
            else:
                stack = body[CHILD_BODY.size :].decode("utf-8", "replace")
                self._bury(number, *(self._guard.ending(number, status, stack) if pid else ("no process could be made for it", {})))
        if channel.closed:
            self._replace_zygote()

    def _bury(self, number: int, reason: str, facts: Mapping[str, object] | None = None) -> None:
        self._pids.pop(number, None)
        channel = self._workers.pop(number, None)
        if channel is not None:
            if not channel.closed:
                self._workers[number] = channel
                self._hear_worker(number, channel)  # what it said before its end
                del self._workers[number]
                self._forget(channel)
            self._pool.lost(number, reason, facts)

    def _replace_zygote(self) -> None:
        _, status = os.waitpid(self._zygote_pid, 0)
        self._forget(self._zygote)
        for pid in self._pids.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for number in list(self._workers):
            self._bury(number, f"the process that it was forked from was {how_it_ended(status)}")
        self._stillborn += 1
        if self._stillborn >= _STILLBORN_ZYGOTES:
            sys.stderr.write(f"the local service ends: its workers cannot be started, importing their modules {how_it_ended(status)}\n")
            self._stopped = True
        self._start_zygote()

    # ------------------------------------------------------------ sockets

    def _watch(self, channel: Channel, hear: Callable[[Channel], None]) -> None:
        def ready(events: int) -> None:
            if events & _WRITE:
                self._flush(channel)
            if events & _READ and not channel.closed:
                hear(channel)

        self._selector.register(channel, _READ, ready)

    def _send(self, channel: Channel, frame: bytes) -> None:
        """Send a frame at the end of this round, with all others for the same end."""
        channel.add(frame)
        self._unsent.add(channel)

    def _send_all(self) -> None:
        unsent, self._unsent = self._unsent, set()
        for channel in unsent:
            self._flush(channel)

    def _flush(self, channel: Channel) -> None:
        channel.flush()
        if not channel.closed:
            key = self._selector.get_key(channel)
            wanted = _READ | _WRITE if channel.pending else _READ
            if key.events != wanted:
                self._selector.modify(channel, wanted, key.data)

    def _forget(self, channel: Channel) -> None:
        if channel.fileno() >= 0:
            self._selector.unregister(channel)
            channel.close()

    def _selector_wait(self) -> None:
        """Wait until the zygote's socket takes more: it is importing, and the queue to it is full."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._zygote_socket, _WRITE)
            selector.select()

    def _watch_signals(self) -> None:
        self._signals, waker = socket.socketpair()
        self._signals.setblocking(False)  # noqa: FBT003 - the standard library's signature
        waker.setblocking(False)  # noqa: FBT003 - as above
        signal.set_wakeup_fd(waker.detach(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._signals, _READ, self._stop)

    def _stop(self, _events: int) -> None:
        self._stopped = True


def _names() -> Iterator[str]:
    host = socket.gethostname()
    for number in itertools.count(1):
        yield f"{host}-{os.getpid()}-{number}-{secrets.token_hex(4)}"


def main(settings: Settings, path: Path, lock: Path) -> str:
    """Serve at a socket until it is time to end.

    Args:
        settings: What to run.
        path: Where to listen; a file that a killed service left there is replaced.
        lock: File that is locked for the life of this process.

    Returns:
        `busy` when another service holds the lock; else `ended`, after it has.
    """
    if take_lock(lock) is None:
        return "busy"
    sweep(lock.parent)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1024)
    _say("ready")
    service = Service(settings, listener)
    try:
        service.run()
    finally:
        path.unlink(missing_ok=True)
        service.close()
        lock.unlink(missing_ok=True)
    return "ended"


def _say(word: str) -> None:
    """Send the starter one word on stdout, and let stdout go to the log from then on."""
    os.write(1, word.encode())
    os.dup2(2, 1)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    if main(msgspec.json.decode(sys.argv[1], type=Settings), Path(sys.argv[2]), Path(sys.argv[3])) == "busy":
        _say("busy")
