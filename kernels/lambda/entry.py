"""The entry of the generic image: what Lambda's runtime calls, in each function of a stack.

The runtime imports this module once an environment (`entry.handler`). Each job's invocations run in a process of their own, forked
from here, so what is imported here is imported once. Nothing is opened here. `SMR_LOCATION` tells which backend the processes open.

The image must keep Arrow and the numerical libraries from starting threads at import, because a process with threads is not safe to fork
(`OMP_NUM_THREADS=1`, `OPENBLAS_NUM_THREADS=1`, `JE_ARROW_MALLOC_CONF=background_thread:false`).
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

from smr_notebook.backends.aws.events import TRACED, LambdaContext, respond
from smr_notebook.backends.aws.names import LARGE, WORKERS
from smr_notebook.backends.tenants import Tenants
from smr_notebook.control.messages import tenant
from smr_notebook.control.pulse import rest_pulse
from smr_notebook.handler import handle
from smr_notebook.ports import Context

_CLIENTS: Final = ("boto3",)
_FRAMES: Final = ("pandas", "pyarrow.pandas_compat", "pyarrow.parquet")
"""pyarrow imports pandas with the first list that it makes an array of."""

_WORKERS: Final = tuple(f"-{route}" for route in (*WORKERS, *LARGE))
"""How the names of the functions end that run the user's code."""


def _run(payload: bytes, context: Context) -> bytes:
    """Run one invocation, and leave nothing behind that would act after it: Lambda freezes the process until the next one."""
    try:
        return handle(payload, context)
    finally:
        rest_pulse()


def _preload(function: str, location: str) -> None:
    platform = location.partition(":")[0]
    modules = [f"smr_notebook.backends.{platform}.platform"] if platform else []
    for module in (*modules, *_CLIENTS, *(_FRAMES if function.endswith(_WORKERS) else ())):
        importlib.import_module(module)


_preload(os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""), os.environ.get("SMR_LOCATION", ""))
_TENANTS: Final = Tenants(_run, tenant, variables=TRACED)


def handler(event: Any, context: LambdaContext) -> Any:
    """Do what an event asks for: an invocation, a look at the environment, or notices of failures.

    Args:
        event: What the function was called with.
        context: What Lambda says of the invocation.
    """
    return respond(event, context, _TENANTS, location=os.environ["SMR_LOCATION"])
