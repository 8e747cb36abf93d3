"""The user's input in S3: `s3://bucket/key`, a folder or a glob.

What a pattern means, as for every source: an object of that very name; else all below that folder; else a glob, in which `*`, `?` and
`[…]` match inside one name between two `/`, `**` any number of names, and a name that begins with a dot is matched by one that does.

* A glob is listed from its longest beginning without a wildcard: what stands behind the first one costs a request for 1,000 keys.
* S3 has no folders. What consoles show as an empty one is a key of no bytes that ends in `/`: it is no object.
* A version is the ETag: it changes with the content, and a listing gives it as well as the object itself.
* **Nothing is left out silently.** An archived object that matches is an error, unless it is restored for the time being.
* Whoever may read an object but not list its bucket can name that object, and nothing else.
* What S3 refuses is an `InputReadError` that says why and what helps, unless the reason is who asks or where: that is an error of its
  own. S3 refuses a HEAD without a word, and is then asked by a GET.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from botocore.exceptions import ClientError

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, Mends, code_of, told
from smr_notebook.backends.aws.s3 import list_objects, read_range, version_of
from smr_notebook.errors import AccessDeniedError, ConfigError, CredentialsError, InputMissingError, InputReadError, SmrError
from smr_notebook.model import ObjectInfo
from smr_notebook.values.globs import WILD, matches

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_BUCKET = re.compile(r"[\w.-]{1,255}", re.ASCII)


class S3Source:
    """An `InputSource` for the scheme `s3`. Keys are `bucket/key`.

    Args:
        clients: Who reads.
        mend: What helps where they may not; `{bucket}` stands for the bucket's name.
    """

    def __init__(self, clients: Clients, *, mend: str = "") -> None:
        self._clients = clients
        self._mend = mend

    def find(self, pattern: str) -> Iterator[ObjectInfo]:
        """See `ports.InputSource.find`. Raises also `AccessDeniedError`, `CredentialsError` and `ConfigError`."""
        if not pattern:
            return
        bucket, _, key = pattern.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise InputMissingError(f"{f's3://{pattern}'!r} names nothing: no bucket is called {bucket!r}. Write s3://bucket/folder/.")
        with self._translated("listing", pattern):
            if exact := self._exact(bucket, key):
                yield exact
                return
            folder = key.rstrip("/")
            below = self._list(bucket, f"{folder}/" if folder else "")
            found: Iterator[dict[str, Any]]
            if (first := next(below, None)) is not None:
                found = chain((first,), below)
            elif wild := WILD.search(key):
                parts = key.split("/")
                found = (item for item in self._list(bucket, key[: wild.start()]) if matches(item["Key"].split("/"), parts))
            else:
                return
            for item in found:
                yield self._listed(bucket, item)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `ports.InputSource.get`."""
        bucket, _, name = key.partition("/")
        with self._translated("reading", key):
            return read_range(self._clients["s3"], bucket, name, start=start, stop=stop)

    def stat(self, key: str) -> ObjectInfo:
        """See `ports.InputSource.stat`."""
        bucket, _, name = key.partition("/")
        with self._translated("reading", key):
            found = self._head(bucket, name)
        archived = found.get("StorageClass") in _ARCHIVES or "ArchiveStatus" in found
        if archived and 'ongoing-request="false"' not in found.get("Restore", ""):
            advice = "Restore it (`aws s3api restore-object`), or leave it out by a narrower pattern."
            raise InputReadError(f"Cannot read {f's3://{key}'!r}: it is archived. {advice}")
        return ObjectInfo(key, found["ContentLength"], version_of(found))

    def _exact(self, bucket: str, key: str) -> ObjectInfo | None:
        """Return the object of that very name, if there is one."""
        if not key:
            return None
        try:
            # It comes before all others that begin with its name.
            first = next(self._list(bucket, key, page=1), None)
        except ClientError as error:
            if code_of(error) not in {"AccessDenied", "403"}:
                raise
            try:
                return self.stat(f"{bucket}/{key}")
            except (InputMissingError, InputReadError, AccessDeniedError):
                raise error from None
        return self._listed(bucket, first) if first is not None and first["Key"] == key else None

    def _list(self, bucket: str, prefix: str, *, page: int = 1000) -> Iterator[dict[str, Any]]:
        for item in list_objects(self._clients["s3"], bucket, prefix, page=page):
            if item["Size"] or not item["Key"].endswith("/"):
                yield item

    def _listed(self, bucket: str, item: dict[str, Any]) -> ObjectInfo:
        key = f"{bucket}/{item['Key']}"
        return self.stat(key) if item.get("StorageClass") in _ARCHIVES else ObjectInfo(key, item["Size"], version_of(item))

    def _head(self, bucket: str, name: str) -> dict[str, Any]:
        client = self._clients["s3"]
        try:
            return dict(client.head_object(Bucket=bucket, Key=name))
        except ClientError:
            client.get_object(Bucket=bucket, Key=name, Range="bytes=0-0")["Body"].close()
            raise

    @contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except BOTO_ERRORS as error:
            raise self._told(error, doing, key) from None
        except UnicodeEncodeError:
            raise InputMissingError(f"There is no object {f's3://{key}'!r}: its name is no UTF-8 text.") from None

    def _told(self, error: Exception, doing: str, key: str) -> SmrError:
        bucket, code, name = key.partition("/")[0], code_of(error), f"s3://{key}"
        if code in {"NoSuchKey", "404"}:
            reason = "If a job was to read it, it has been moved or deleted since: put it back."
            return InputMissingError(f"There is no object {name!r}. {reason}")
        if code in {"NoSuchBucket", "InvalidBucketName"}:
            return InputMissingError(f"There is no bucket {bucket!r}, so that {name!r} names nothing. Check its name.")
        mends: Mends = {AccessDeniedError: self._mend.format(bucket=bucket)} if self._mend else {}
        failed = told(error, f"{doing} {name!r}", mends=mends)
        return failed if isinstance(failed, AccessDeniedError | CredentialsError | ConfigError) else InputReadError(str(failed))
