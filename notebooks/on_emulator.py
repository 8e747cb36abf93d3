"""Run a command with an AWS on this machine, which needs no account and costs nothing.

    python notebooks/on_emulator.py -- jupyter lab

starts JupyterLab where `smr.Session("aws")` finds a deployment: S3 and DynamoDB are those of the emulator ministack, and the functions
are run by AWS's own runtime client in the Lambda service of `smr_notebook.testing`. boto3 finds them by the variables of the command's
environment, and nothing else: no profile, no credentials of yours. `SMR_PLATFORM` is `aws`, so that `smr.Session()` is there, too.
`EXAMPLE_DATA` is a place in a bucket that the workers may read, for `notebooks/aws.ipynb`.

Buckets and tables are in memory: all ends with the command, and the exit code is the command's. An interrupt from the terminal reaches
the command, which may ask first; a signal to this process is passed on to it.

The deployment is made in a moment and by hand, not from the template: `smr deploy`, `smr doctor` and `smr down` have nothing to look at
here. ministack's Python is `SMR_TEST_MINISTACK`, or the one that `make test-aws` installs. Needs the extras `aws` and `test`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.testing.cloud import Shape, deployed
from smr_notebook.testing.emulators import aws_environment, emulator

INSTALLED = Path(__file__).resolve().parents[1] / "build" / "ministack" / "bin" / "python"
BUCKET = "example"
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
SHAPE = Shape()


@contextmanager
def cloud(python: str, folder: Path) -> Iterator[dict[str, str]]:
    """Run an AWS until the block ends, and give the environment in which boto3 finds it.

    Args:
        python: The Python that has ministack.
        folder: For what the emulator writes.
    """
    with emulator(python, folder) as endpoint:
        for name, value in aws_environment(endpoint).items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        clients = Clients()
        clients["s3"].create_bucket(Bucket=BUCKET)
        with deployed(endpoint, clients, SHAPE) as service:
            ours = {"SMR_PLATFORM": "aws", "SMR_STACK": SHAPE.stack, "EXAMPLE_DATA": f"s3://{BUCKET}/data"}
            said = {name: value for name, value in os.environ.items() if name not in {"SMR_REGION", "SMR_PROFILE"}}
            yield said | service.access | ours


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end, and return its exit code as a shell would tell it."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the command as well; also while all is taken down
    with subprocess.Popen(command, env=environment) as process:
        for number in ENDINGS:
            signal.signal(number, lambda number, _: process.send_signal(number))
        code = process.wait()
    return code if code >= 0 else 128 - code


def leave(number: int, _: FrameType | None) -> None:
    """End this process, and with it what it has started so far."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run the command named behind `--`, and return its exit code."""
    parser = argparse.ArgumentParser(description="Run a command with an AWS on this machine: … -- jupyter lab")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, behind --")
    command = parser.parse_args().command
    for number in (signal.SIGINT, *ENDINGS):
        signal.signal(number, leave)
    python = str(Path(os.environ.get("SMR_TEST_MINISTACK") or INSTALLED).absolute())  # it runs in another folder
    try:
        with tempfile.TemporaryDirectory(prefix="on-emulator-") as folder, cloud(python, Path(folder)) as environment:
            return run(command, environment)
    except FileNotFoundError as error:
        hint = " `make build/ministack/.installed` makes it, or SMR_TEST_MINISTACK names another." if error.filename == python else ""
        print(f"There is no {error.filename}.{hint}", file=sys.stderr)
        return 127
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
