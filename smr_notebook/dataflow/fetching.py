"""Reading ahead: what is wanted next is fetched while what came before is worked on.

Where a read is a journey (S3: 20 to 30 ms), a reducer of a thousand runs would spend half a minute waiting for one slice after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def fetch_ahead(wanted: Iterable[tuple[int, Callable[[], T]]], *, threads: int, most_bytes: int) -> Iterator[T]:
    """Yield what each fetch returns, in order.

    Args:
        wanted: For each fetch, how many bytes it brings, and the function that does it; looked at only as far ahead as is fetched.
        threads: How many may be under way at once; 1 fetches one by one, when asked.
        most_bytes: How much may have been fetched, or be under way, before it is asked for. One fetch always may.

    Raises:
        Exception: What a fetch raises, in its turn.
    """
    if threads <= 1:
        yield from (fetch() for _, fetch in wanted)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="smr-fetch") as pool:
        under_way: deque[tuple[int, Future[T]]] = deque()
        ahead = 0
        try:
            for size, fetch in wanted:
                while under_way and (ahead + size > most_bytes or len(under_way) >= threads):
                    first, future = under_way.popleft()
                    yield future.result()
                    ahead -= first
                under_way.append((size, pool.submit(fetch)))
                ahead += size
            while under_way:
                yield under_way.popleft()[1].result()
        finally:
            for _, future in under_way:
                future.cancel()
