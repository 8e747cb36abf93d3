"""A function that carries out the orders of `testing.handlers`, by the way that every invocation takes in the generic image.

Its environment says where: `SMR_LOCATION` names the folder. Orders whose names begin alike, up to a `-`, are those of one tenant.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

from smr_notebook.backends.aws.events import LambdaContext, respond
from smr_notebook.backends.tenants import Tenants
from smr_notebook.ports import Context
from smr_notebook.testing.handlers import record


def _run(payload: bytes, context: Context) -> bytes:
    record(payload, context)
    return b""


def _tenant(payload: bytes) -> str:
    return str(json.loads(payload).get("name", "")).partition("-")[0]


_TENANTS: Final = Tenants(_run, _tenant)


def handler(event: Any, context: LambdaContext) -> Any:
    """Carry out an `Order`, or write down that one failed."""
    return respond(event, context, _TENANTS, location=os.environ["SMR_LOCATION"])
