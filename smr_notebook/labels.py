"""What a person calls the file of a piece of code: `Cell In[2]`, or the path."""

from __future__ import annotations

import builtins


def cell_label(file: str) -> str:
    """Return the label of a code file.

    An IPython shell announces itself as `get_ipython` in the builtins, so that nothing of IPython is imported here.

    Args:
        file: `co_filename` of a code object.
    """
    shell = getattr(builtins, "get_ipython", lambda: None)()
    name_of = getattr(getattr(shell, "compile", None), "format_code_name", None)
    words = name_of(file) if name_of is not None else None
    return " ".join(words) if words else file
