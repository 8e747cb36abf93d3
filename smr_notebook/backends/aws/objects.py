"""The object store as a bucket.

* **Nobody sees a part.** A buffer, or a stream of less than two parts, is one request. A longer stream is a multipart upload, of which
  a few parts are in memory; it is aborted when anything goes wrong, and what a dying process leaves of it is neither listed nor
  read, only paid for, until a lifecycle rule of the bucket ends it.
* **If absent.** S3 decides, at the one request that makes the object (`If-None-Match: *`). A reply that is lost and repeated by the SDK
  comes back as *it stands already*, as the port allows. Two calls that S3 sees at once may both be sent away (409): they come again.
* **Deleting counts.** Each key is deleted under the condition that it is there, so that of two who delete it one counts it.
* **What XML cannot carry** (control characters in a key) is deleted by a request of its own.
* boto3 and not a faster client: its errors have codes, its chain knows profiles and SSO, it checks what it uploads, and only it makes a
  multipart upload conditional. `benchmarks/aws_objects.py` measures what that costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

from botocore.exceptions import ClientError

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, Mends, code_of, told
from smr_notebook.backends.aws.s3 import TRIES, list_objects, read_range, version_of
from smr_notebook.errors import DeploymentError, StoreError
from smr_notebook.model import ObjectInfo
from smr_notebook.ports import Buffer

PART = 8 << 20
"""Bytes of a part of a multipart upload, at least; S3 takes 10,000 parts, of 5 MiB or more."""

_BATCH = 1000  # keys that one request deletes
_RACES = frozenset({"ConditionalRequestConflict", "OperationAborted", "409"})
_PASSING = _RACES | {"InternalError"}
_GONE = frozenset({"NoSuchKey", "PreconditionFailed"})
_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class S3Store:
    """An `ObjectStore` in a bucket, for any number of threads, processes and machines.

    Args:
        clients: Who asks.
        bucket: Name of the bucket. It must be there, without versioning.
        mend: What helps where there is no such bucket.
    """

    def __init__(self, clients: Clients, bucket: str, *, mend: str = "") -> None:
        self._clients = clients
        self._mend = mend
        self._bucket = bucket

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        with self._translated("reading", key):
            return read_range(self._s3, self._bucket, key, start=start, stop=stop)

    def put(self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False) -> bool:
        """See `ports.ObjectStore.put`."""
        parts = iter((bytes(data),)) if isinstance(data, Buffer) else _parts(data)
        first, second = next(parts, b""), next(parts, None)
        if second is not None:
            return self._put_parts(key, chain((first, second), parts), if_absent=if_absent)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with self._translated("writing", key):
            return _wrote(lambda: self._s3.put_object(**self._named(key), Body=first, **condition))

    def list_prefix(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list_prefix`."""
        for found in self._list(prefix):
            yield ObjectInfo(found["Key"], found["Size"], version_of(found))

    def delete_prefix(self, prefix: str) -> int:
        """See `ports.ObjectStore.delete_prefix`."""
        if not prefix:
            raise StoreError(f"The empty prefix stands for every object in s3://{self._bucket}. Delete the bucket if you want.")
        keys = (found["Key"] for found in self._list(prefix))
        deleted = 0
        while batch := list(islice(keys, _BATCH)):
            with self._translated("deleting", prefix):
                deleted += self._delete([key for key in batch if not _NO_XML.search(key)])
                deleted += sum(self._delete_one(key) for key in batch if _NO_XML.search(key))
        return deleted

    @property
    def _s3(self) -> Any:
        return self._clients["s3"]

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": key}

    def _put_parts(self, key: str, parts: Iterator[bytes], *, if_absent: bool) -> bool:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        with self._translated("writing", key):
            begun = self._s3.create_multipart_upload(**self._named(key), ChecksumAlgorithm="CRC32")
        upload = {**self._named(key), "UploadId": begun["UploadId"]}
        wrote = False
        try:
            sent = []
            for number, part in enumerate(parts, 1):
                with self._translated("writing", key):
                    answer = self._s3.upload_part(**upload, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32")
                sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
            with self._translated("writing", key):
                whole = {"Parts": sent}
                wrote = _wrote(lambda: self._s3.complete_multipart_upload(**upload, MultipartUpload=whole, **condition))
            return wrote
        finally:
            if not wrote:
                with suppress(*BOTO_ERRORS):  # the lifecycle rule ends it
                    self._s3.abort_multipart_upload(**upload)

    def _list(self, prefix: str) -> Iterator[dict[str, Any]]:
        with self._translated("listing", prefix):
            yield from list_objects(self._s3, self._bucket, prefix)

    def _delete(self, keys: list[str]) -> int:
        """Delete the keys of one batch, and return how many there were."""
        deleted = 0
        for left in reversed(range(TRIES)):
            if not keys:
                break
            doomed = {"Objects": [{"Key": key, "ETag": "*"} for key in keys], "Quiet": True}
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete=doomed)
            errors = [error for error in answer.get("Errors", ()) if error.get("Code") not in _GONE]
            deleted += len(keys) - len(answer.get("Errors", ()))
            if lasting := [error for error in errors if not left or error.get("Code") not in _PASSING]:
                raise ClientError({"Error": lasting[0], "ResponseMetadata": {}}, "DeleteObjects")
            keys = [error["Key"] for error in errors]
        return deleted

    def _delete_one(self, key: str) -> bool:
        try:
            return _wrote(lambda: self._s3.delete_object(Bucket=self._bucket, Key=key, IfMatch="*"))
        except ClientError as error:
            if code_of(error) not in _GONE:
                raise
            return False

    @contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except BOTO_ERRORS as error:
            mends: Mends = {DeploymentError: self._mend} if self._mend and code_of(error) == "NoSuchBucket" else {}
            raise told(error, f"{doing} {f's3://{self._bucket}/{key}'!r}", mends=mends) from None
        except UnicodeEncodeError as error:
            raise StoreError(f"{key!r} cannot be a key: it is no UTF-8 text.") from error


def _parts(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    """Join buffers to parts, of which only the last one may be short."""
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        if len(pending) >= PART:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)


def _wrote(call: Callable[[], object]) -> bool:
    """Make a conditional call, again where it met another one, and return whether its condition held."""
    for left in reversed(range(TRIES)):
        try:
            call()
        except ClientError as error:
            if code_of(error) in {"PreconditionFailed", "412"}:
                return False
            if not left or code_of(error) not in _RACES:
                raise
        else:
            return True
    return False
