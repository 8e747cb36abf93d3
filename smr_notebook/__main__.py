"""`python -m smr_notebook`: the same as `smr`."""

from __future__ import annotations

from smr_notebook.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
