"""A small job on a real account, for what no emulator shows: `make aws-smoke`.

Needs credentials and a deployment (`smr deploy`); without credentials nothing is done. The deployment is `smr`, or `SMR_STACK`. Costs well
below a cent.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import smr_notebook as smr
from smr_notebook import cli
from smr_notebook.errors import CredentialsError, SmrError

LINES = [f"line {number} of {number % 7}" for number in range(2_000)]


def words(line: str) -> Iterator[tuple[str, int]]:
    """Count words."""
    for word in line.split():
        yield word, 1


def main() -> int:
    """Run it, and return the exit code."""
    try:
        session = smr.Session("aws")
    except CredentialsError as error:
        sys.stdout.write(f"skipped: {error}\n")
        return 0
    except SmrError as error:
        sys.stdout.write(f"failed: {error}\n")
        return 1
    job = session.map_reduce(words, sum, LINES, reducers=3, name="smoke", max_cost=0.10)
    frame = job.result()
    expected = Counter(word for line in LINES for word in line.split())
    right = dict(zip(frame["key"], frame["value"], strict=True)) == expected
    sys.stdout.write(f"{'right' if right else 'WRONG'}: {job.proof}\n")
    sys.stdout.write(f"cost {job.status().cost}, estimated {job.status().estimate}\n")
    found = cli.main(["doctor", "--stack", session.settings.stack])
    return 0 if right and not found else 1


if __name__ == "__main__":
    raise SystemExit(main())
