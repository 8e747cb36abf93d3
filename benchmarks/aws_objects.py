"""What the object store on S3 costs: our store, and obstore as the faster client that it could have been built on.

    SMR_TEST_MINISTACK=/path/to/python-with-ministack python benchmarks/aws_objects.py

The emulator runs on the same machine, so that rates say how two clients compare and not how fast S3 is; what a call costs this process in
CPU is the number that stays true. obstore is compared when it is installed. Its answers are compared too before a time counts.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.objects import S3Store
from smr_notebook.testing.emulators import aws_environment, emulator

MIB = 1 << 20
SMALL = b"x" * 1000
LARGE = os.urandom(64 * MIB)

STARTS = {
    "boto3 with DynamoDB": "import boto3; session = boto3.Session(); session.client('dynamodb')",
    "… and S3": "import boto3; session = boto3.Session(); session.client('dynamodb'); session.client('s3')",
    "our store": (
        "from smr_notebook.backends.aws.clients import Clients; from smr_notebook.backends.aws.objects import S3Store; "
        "S3Store(Clients(), 'bench').get('small')"
    ),
    "obstore": (
        "import os, obstore; from obstore.store import S3Store; "
        "obstore.get(S3Store('bench', endpoint=os.environ['AWS_ENDPOINT_URL'], client_options={'allow_http': True}), 'small').bytes()"
    ),
}


class Obstore:
    """The two verbs that are compared."""

    def __init__(self) -> None:
        import obstore  # noqa: PLC0415 - not everybody has it
        from obstore.store import S3Store as Store  # noqa: PLC0415 - as above

        self._obstore = obstore
        self._store = Store("bench", endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})

    def get(self, key: str, start: int, stop: int) -> bytes:
        """Read a range."""
        return bytes(self._obstore.get_range(self._store, key, start=start, end=stop).to_bytes())

    def put(self, key: str, data: bytes) -> None:
        """Write."""
        self._obstore.put(self._store, key, data)


Store = S3Store | Obstore


def start_of(code: str) -> float:
    """Return the median of the seconds that a fresh process takes for a piece of code."""
    program = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True) for _ in range(7)]
    return sorted(float(run.stdout) for run in runs)[3]


def measure(name: str, call: Callable[[int], object], *, calls: int, threads: int, size: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(2 * threads)))
        wall, cpu = time.perf_counter(), time.process_time()
        list(pool.map(call, range(calls)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rates = f"{calls / wall:7.0f} calls/s {calls * size / wall / 1e6:7.0f} MB/s"
    print(f"{name:34} {threads:2} threads {rates} {cpu / calls * 1000:6.2f} ms CPU a call")


def compare(name: str, store: Store) -> None:
    for start, stop in ((0, 1000), (5, 4 * MIB), (3 * MIB, 20 * MIB)):
        if store.get("large", start, stop) != LARGE[start:stop]:
            raise SystemExit(f"{name} reads something else")
    for threads in (1, 8, 32):
        measure(f"{name}: read 1 kB", lambda _: store.get("small", 0, 1000), calls=400, threads=threads, size=1000)
        measure(f"{name}: write 1 kB", lambda n: store.put(f"w/{n}", SMALL), calls=400, threads=threads, size=1000)
        measure(
            f"{name}: read 64 kB of 64 MB", lambda n: store.get("large", n * 997, n * 997 + 65536), calls=400, threads=threads, size=65536
        )
        measure(
            f"{name}: read 4 MiB of 64 MB",
            lambda n: store.get("large", n * 997, n * 997 + 4 * MIB),
            calls=60,
            threads=threads,
            size=4 * MIB,
        )
        if threads < 32:
            measure(
                f"{name}: read 16 MiB of 64 MB",
                lambda n: store.get("large", n * 997, n * 997 + 16 * MIB),
                calls=20,
                threads=threads,
                size=16 * MIB,
            )
            measure(f"{name}: write 16 MiB", lambda n: store.put(f"w/{n % 4}", LARGE[: 16 * MIB]), calls=12, threads=threads, size=16 * MIB)


def stream(store: S3Store) -> None:
    def put(number: int) -> None:
        store.put(f"s/{number % 4}", (LARGE[start : start + 4 * MIB] for start in range(0, len(LARGE), 4 * MIB)))

    for threads in (1, 8):
        measure("our store: write 64 MiB in parts", put, calls=8, threads=threads, size=len(LARGE))


def main() -> None:
    python = os.environ.get("SMR_TEST_MINISTACK")
    if not python:
        raise SystemExit("SMR_TEST_MINISTACK names no Python with ministack")
    with tempfile.TemporaryDirectory() as folder, emulator(python, Path(folder)) as url:
        for name, value in aws_environment(url).items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        clients = Clients()
        clients["s3"].create_bucket(Bucket="bench")
        ours = S3Store(clients, "bench")
        ours.put("small", SMALL)
        ours.put("large", LARGE)
        other = importlib.util.find_spec("obstore") is not None
        for name, code in STARTS.items():
            if other or name != "obstore":
                print(f"start of a process, {name:20} {start_of(code) * 1000:4.0f} ms")
        compare("our store", ours)
        stream(ours)
        if other:
            compare("obstore", Obstore())


if __name__ == "__main__":
    main()
