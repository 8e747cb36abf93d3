"""What the store and the source both ask of S3: a range of an object, and a listing. Errors are those of botocore.

* **A body that breaks is taken up where it broke.** The SDK repeats requests, but not the reading of an answer. The rest is asked for
  only of the same object: one that was replaced meanwhile is read anew, so that nobody gets parts of two.
* **A body is as long as it must be.** The transport says how long a whole one is, and `Content-Range` what a part is, which must
  begin where it should.
* **S3 checks whole objects, not ranges.** The SDK compares a checksum where S3 sends one, which it does for no range: whoever reads
  ranges has checksums of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from urllib3.exceptions import HTTPError

from smr_notebook.backends.aws.faults import code_of

TRIES = 5
"""How often a body may break, or a race be lost, in one call."""

_PIECE = 256 << 10  # read at once: so much is lost at most when a body breaks
_RANGE = re.compile(r"bytes (\d+)-(\d+)/")


def read_range(client: Any, bucket: str, key: str, *, start: int = 0, stop: int | None = None) -> bytes:
    """Return bytes `[start, stop)` of an object; both ends are clamped to its size.

    Raises:
        botocore.exceptions.BotoCoreError: S3 cannot be reached, or the body broke again and again.
        botocore.exceptions.ClientError: S3 refuses.
    """
    if stop is not None and stop <= start:
        return read_range(client, bucket, key, start=start, stop=start + 1)[:0]  # whether there is an object must be asked
    pieces: list[bytes] = []
    etag = ""
    for left in reversed(range(TRIES)):
        position = start + sum(map(len, pieces))
        if position == stop:  # it broke behind its last byte
            break
        try:
            answer = client.get_object(Bucket=bucket, Key=key, **_asked(position, stop, etag))
        except ClientError as error:
            if code_of(error) in {"InvalidRange", "416"}:
                break
            if not (etag and left and code_of(error) in {"PreconditionFailed", "412"}):
                raise
            pieces, etag = [], ""  # it has been replaced
            continue
        etag = answer["ETag"]
        broken = _receive(answer, position, pieces)
        if broken is None:
            break
        if not left:
            raise broken
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def list_objects(client: Any, bucket: str, prefix: str, *, page: int = 1000) -> Iterator[dict[str, Any]]:
    """Yield what S3 says of each object whose key starts with `prefix`, in order of the UTF-8 bytes of the keys.

    Args:
        page: How many to ask for at once, at most 1,000.

    Raises as `read_range` does.
    """
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": page})
    for answer in pages:
        yield from answer.get("Contents", ())


def version_of(answer: dict[str, Any]) -> str:
    """Return the version of an object that an answer speaks of: its ETag."""
    return str(answer["ETag"]).strip('"')


def _asked(position: int, stop: int | None, etag: str) -> dict[str, str]:
    asked = {"IfMatch": etag} if etag else {}
    if position or stop is not None:
        asked["Range"] = f"bytes={position}-{'' if stop is None else stop - 1}"
    return asked


def _receive(answer: dict[str, Any], position: int, pieces: list[bytes]) -> BotoCoreError | None:
    """Append the body of an answer, which should begin at a position of the object; return what broke it, if anything did."""
    found = _RANGE.match(answer.get("ContentRange", ""))
    first, end = (int(found[1]), int(found[2]) + 1) if found else (0, None)
    if first != position:
        answer["Body"].close()
        return ResponseStreamingError(error=f"bytes from {position:,} on were asked for, and bytes from {first:,} on were sent")
    received = 0
    with closing(answer["Body"]) as body:
        try:
            while piece := body.read(_PIECE):
                pieces.append(piece)
                received += len(piece)
        except FlexibleChecksumError as error:
            pieces.clear()
            return error
        except (HTTPClientError, IncompleteReadError) as error:
            return error
        except HTTPError as error:  # what botocore does not translate, as of TLS
            return ResponseStreamingError(error=error)
    return None if end is None or first + received == end else IncompleteReadError(actual_bytes=received, expected_bytes=end - first)
