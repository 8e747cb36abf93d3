"""The key of a workspace that is no secret: for tests that sign, and are about something else."""

from __future__ import annotations

from typing import Final

from smr_notebook.dataflow.signing import SECRET_BYTES, Keyring

KEYS: Final = Keyring(bytes(SECRET_BYTES))
"""The key."""
