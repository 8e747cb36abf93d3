"""Candidates for the identifier of a new job: eight hexadecimal digits, short because people type them.

Who draws one reserves it before anything is stored under it (`control.registering`), and draws again where it is taken. So chance is not
needed for identifiers to be unique, and a notebook in CI may do without: the same seed gives the same ones in the same order.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable
from typing import Final

_BYTES: Final = 4


def random_identifier() -> str:
    """Return a candidate that nobody can guess."""
    return secrets.token_hex(_BYTES)


def seeded_identifiers(seed: str) -> Callable[[], str]:
    """Return what gives one candidate after another, the same ones for the same seed."""
    numbers = itertools.count(1)
    return lambda: hashlib.blake2b(f"{seed}:{next(numbers)}".encode(), digest_size=_BYTES).hexdigest()
