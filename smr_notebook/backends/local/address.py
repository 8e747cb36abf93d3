"""Where the service of a workspace is found, and what keeps it the only one.

One service for each workspace *and* environment: its name is a hash of the workspace, the handler, the interpreter and the stamp.
So two environments on one workspace have a service each, side by side, and both ends of a connection are the same code.

The socket and the lock lie in a private folder of short name, because a socket's path is limited to about 100 bytes, and a
workspace's may be longer. Nobody but the user may enter that folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from smr_notebook.errors import ServiceError
from smr_notebook.model import Environment

_PATH_BYTES = 100


@dataclass(frozen=True, slots=True)
class Address:
    """The files of one service.

    Attributes:
        socket: Unix domain socket that the service listens on.
        lock: Locked by the service for as long as it lives.
        log: What the service and its workers write to stdout and stderr.
    """

    socket: Path
    lock: Path
    log: Path


def find_address(workspace: Path, handler: str, environment: Environment) -> Address:
    """Return the address of the service of a workspace for this interpreter. Nothing need run there.

    Raises:
        ServiceError: The private folder for sockets cannot be made, or is not private.
    """
    interpreter = str(Path(sys.executable).resolve())  # a virtual environment has several names for its own
    identity = "\0".join([str(workspace.resolve()), handler, interpreter, sys.prefix, sys.version, repr(environment)])
    name = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:16]
    folder = _private_folder()
    return Address(folder / f"{name}.sock", folder / f"{name}.lock", workspace.resolve() / "service.log")


def take_lock(path: Path) -> int | None:
    """Lock a file for the life of this process, and return its descriptor; `None` when another process holds it.

    Whoever holds the lock may remove the file as its last act: a file that was removed while we waited for it is not the lock.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what killed services left in a folder of sockets: whatever has a lock that nobody holds."""
    for lock in folder.glob("*.lock"):
        descriptor = take_lock(lock)
        if descriptor is not None:
            lock.with_suffix(".sock").unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def same_user(connection: socket.socket) -> bool:
    """Return whether the other end of a Unix domain socket runs as this user, as far as the platform tells."""
    if sys.platform != "linux":
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return bool(uid == os.getuid())


def _private_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK) and _fits(Path(runtime) / "smr-notebook"):
        folder = Path(runtime) / "smr-notebook"
    else:
        folder = Path(tempfile.gettempdir()) / f"smr-notebook-{os.getuid()}"
        folder = folder if _fits(folder) else Path("/tmp") / folder.name  # noqa: S108 - its owner and mode are checked below
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ServiceError(
            f"The folder for the local service's socket, {folder}, cannot be made: {error}. Set TMPDIR to a folder of yours."
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ServiceError(
            f"{folder} must be a folder of your own that nobody else may enter (mode 0700). Remove it, or set TMPDIR to a folder of yours."
        )
    return folder


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / ("0" * 16 + ".sock"))) <= _PATH_BYTES
