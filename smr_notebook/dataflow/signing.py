"""Signatures: how whoever loads a pickle knows that it was this workspace that wrote it.

To load a pickle is to run what it says. So bytes out of the object store are not unpickled before it is proved that they are those
that a process of the workspace put there. The proof is a keyed hash (BLAKE2b, RFC 7693) with a key that stands in the table and nowhere
else: who can write to the object store but not to the table can damage a job, and cannot make anybody run anything.

* Each job signs with a key of its own, made from that of the workspace and from the folder of its objects, which begins all their
  keys. So what one job signed proves nothing below the folder of another one.
* A signature covers what the bytes are and where they belong (the kind, and a place within the job) besides the bytes themselves: what is
  intact and stands at another place is refused, too.
* What holds pickles is signed, and what says where input lies: a worker may read more than a job should. Other bytes run nothing,
  whatever they say.
* A key is in no object, payload, log, message or `repr`, and it does not pickle: a function that captured one could not travel.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

from smr_notebook.errors import UntrustedObjectError

if TYPE_CHECKING:
    from smr_notebook.ports import Buffer

SIGNATURE_BYTES: Final = 16
"""Of a signature: nobody guesses one in 2**128 tries."""

SECRET_BYTES: Final = 32
"""Of the key of a workspace."""


class JobKey:
    """What the objects of one job are signed with."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, kind: str, place: str, data: Buffer) -> bytes:
        """Return the signature of some bytes.

        Args:
            kind: What they are, ASCII, at most 16 characters.
            place: Where in the job they belong: nobody takes them for what belongs elsewhere.
            data: They.
        """
        where = place.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(len(where).to_bytes(4, "big") + where, digest_size=SIGNATURE_BYTES, key=self._secret, person=kind.encode())
        digest.update(data)
        return digest.digest()

    def check(self, kind: str, place: str, data: Buffer, *, signature: Buffer, name: str) -> None:
        """See to it that a signature is that of these bytes.

        Args:
            kind: As for `sign`.
            place: As for `sign`.
            data: The bytes, of which nothing has been believed so far.
            signature: What stands behind them.
            name: Where they came from, for the message.

        Raises:
            UntrustedObjectError: It is not.
        """
        if not hmac.compare_digest(self.sign(kind, place, data), bytes(signature)):
            raise UntrustedObjectError(
                f"{name} was not written by this workspace, or not for this place, or was changed since: its signature differs. "
                "Nothing of it was used. Submit the job again, and look who else may write to the object store."
            )

    def __repr__(self) -> str:
        return "<JobKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key does not travel.")


class Keyring:
    """The key of a workspace, and with it those of all its jobs.

    Args:
        secret: `SECRET_BYTES` bytes that nobody else knows.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"The key of a workspace has {SECRET_BYTES} bytes.")
        self._secret = secret

    def of_object(self, key: str) -> JobKey:
        """Return the key of the job below whose folder (`jobs/<job>/`) an object stands, or would stand."""
        return self.of_folder("/".join(key.split("/")[:-1][:2]))

    def of_folder(self, folder: str) -> JobKey:
        """Return the key of the job whose objects are below a folder, named without a slash behind it."""
        return _derived(self._secret, folder)

    def __repr__(self) -> str:
        return "<Keyring>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key does not travel.")


def new_secret() -> bytes:
    """Return a key for a workspace that has none."""
    return secrets.token_bytes(SECRET_BYTES)


@lru_cache(maxsize=64)
def _derived(secret: bytes, folder: str) -> JobKey:
    return JobKey(hashlib.blake2b(folder.encode("utf-8", "surrogatepass"), digest_size=32, key=secret, person=b"job key").digest())
