"""Pickling of functions by value, so that code keeps the name of the file that it is from.

What a failure shows of the user's lines is found by that name: in the sources that travelled, in `linecache`, in a debugger. cloudpickle
writes it up to 3.1.2; from 3.1.3 on it writes `<dynamic-code>` for all code, so that its bytes do not depend on where a function was
defined. Here the bytes may depend on it, and the name is written beside what cloudpickle gives.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from smr_notebook.dataflow.pickles import PROTOCOL


def dumps(value: object) -> bytes:
    """Return a pickle of a value, functions and classes of the user's own by value. Raises whatever pickling does."""
    file = io.BytesIO()
    _Pickler(file, protocol=PROTOCOL).dump(value)
    return file.getvalue()


def named_code(make: Callable[..., types.CodeType], arguments: tuple[Any, ...], file: str) -> types.CodeType:
    """Return code under the name of its file. Stored pickles call it, so it stays where it is.

    Args:
        make: Makes the code.
        arguments: For `make`.
        file: The name.
    """
    return make(*arguments).replace(co_filename=file)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, types.CodeType):
            return super().reducer_override(value)
        make, arguments = self.dispatch_table[types.CodeType](value)
        if value.co_filename in arguments:
            return make, arguments
        return named_code, (make, arguments, value.co_filename)
