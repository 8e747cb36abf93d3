"""`python -m smr_notebook.testing.lambdas <settings as JSON>`: a service as a process of its own, for notebooks.

It prints its endpoint as soon as it answers there, and ends with its standard input, or by a signal: whoever started it need not
remember it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import threading
from dataclasses import replace

import msgspec

from smr_notebook.testing.lambdas.service import serving
from smr_notebook.testing.lambdas.settings import Settings


async def _serve(settings: Settings) -> None:
    async with serving(settings) as endpoint:
        sys.stdout.write(f"{endpoint}\n")
        sys.stdout.flush()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)

        def wait_for_the_end() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait_for_the_end, daemon=True).start()
        await ended.wait()


def main(text: str) -> None:
    """Serve until standard input ends.

    Args:
        text: `Settings` as JSON.
    """
    settings = msgspec.json.decode(text, type=Settings)
    with tempfile.TemporaryDirectory(prefix="lambda-logs-") as folder:
        asyncio.run(_serve(settings if settings.logs else replace(settings, logs=folder)))


if __name__ == "__main__":
    main(sys.argv[1])
