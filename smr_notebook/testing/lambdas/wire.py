"""HTTP/1.1 on loopback, as far as boto3 and the runtime client speak it: requests with a body, connections that stay open."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

_LINE_BYTES = 1 << 20  # a runtime tells of an error in a header, too


@dataclass(frozen=True, slots=True)
class Request:
    """One request. The path is unquoted, names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what the body says; an empty one says nothing.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body or b"{}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: bytes, or something to be written as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def packed(self) -> bytes:
        """Return the bytes on the wire."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} _\r\n{head}\r\n".encode("latin-1") + body


def refused(status: int, code: str, message: str) -> Answer:
    """Return an error as AWS's services that speak REST and JSON put it."""
    return Answer(status, {"Type": "User", "message": message, "Message": message}, {"x-amzn-ErrorType": code})


Respond = Callable[[Request], Awaitable[Answer]]


class Server:
    """A loopback port, and who answers there until it is closed.

    Attributes:
        address: `host:port`. Who connects before there is anybody to answer waits.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.address = "{}:{}".format(*self._socket.getsockname())

    async def answer(self, respond: Respond) -> None:
        """Begin to answer. An answer may take its time: another connection is answered meanwhile."""
        self._respond = respond
        self._server = await asyncio.start_server(self._accept, sock=self._socket, limit=_LINE_BYTES)

    async def close(self) -> None:
        """End, with all connections."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # we run in one
        self._connections.add(task)
        try:
            while (request := await _read(reader)) is not None:
                writer.write((await self._respond(request)).packed())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other end is gone
        except asyncio.CancelledError:
            pass  # we are closed; asyncio's own callback would report a cancelled connection as an error
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    line = (await reader.readline()).decode("latin-1")
    if not line:
        return None
    method, target, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    path, _, query = target.partition("?")
    return Request(method, unquote(path), dict(parse_qsl(query)), headers, await _read_body(reader, headers))


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)
