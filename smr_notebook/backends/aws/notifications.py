"""What a bucket tells others: one entry of ours among those of others, which stay as they are.

Theory. S3 has one document of notifications for each bucket, which is read and written as a whole, without compare-and-set. Who writes it
writes the entries of all others, too. So each change is: read, merge, write at once, and read again. Where our change is not in what
stands then, somebody else wrote at the same moment, and it is made anew upon that. Within a deployment nobody does (`control.triggers`).
Whether the moment between our reading and our writing was somebody else's, S3 cannot tell: it lasts as long as one request.

Rules of this module:

* What is written back is what was read, word for word, also what this module knows nothing of.
* S3 refuses two entries for the same events and keys, in words that do not say which. That is looked for before.
* A filter ends before, and begins behind, what S3 would want in other words: it lets more keys pass, and who is called looks again.
* S3 is not asked to try whom it calls: it would try all others, too, send them messages, and refuse our change where one is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.faults import BOTO_ERRORS, code_of, told
from smr_notebook.errors import ConfigError, ServiceError
from smr_notebook.values.globs import WILD

Entry = Mapping[str, Any]
Document = dict[str, Any]

_LISTS: Final = {
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
    "QueueConfigurations": "QueueArn",
    "TopicConfigurations": "TopicArn",
}
"""The lists of a document, and what an entry of each calls."""

_PLAIN: Final = re.compile(r"[^A-Za-z0-9._/-]")
"""What S3 wants in other words in a filter: spaces as `+`, some signs as `%…`, and which is not quite said."""

_OURS: Final = "LambdaFunctionConfigurations"
_TRIES: Final = 10


class Notifications:
    """Changes what buckets tell others.

    Args:
        clients: Who does.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def ids(self, bucket: str) -> list[str]:
        """Return the names of the entries that call functions; none where there is no bucket."""
        return [str(entry.get("Id", "")) for entry in self._read(bucket, missing_is_fine=True).get(_OURS, ())]

    def add(self, bucket: str, entry: Entry) -> None:
        """Add an entry, unless there is one of that name.

        Raises:
            ConfigError: Another entry tells of the same objects, or S3 does not take it.
            PlatformError: S3 refuses, or cannot be reached.
        """

        def added(standing: Document) -> Document:
            if any(one.get("Id") == entry["Id"] for one in standing.get(_OURS, ())):
                return standing
            _refuse_shared(bucket, entry, standing)
            return {**standing, _OURS: [*standing.get(_OURS, ()), dict(entry)]}

        self._change(bucket, added)

    def remove(self, bucket: str, id: str) -> None:
        """Remove an entry; harmless where there is none, nor a bucket. Raises as `add` does."""

        def removed(standing: Document) -> Document:
            left = [one for one in standing.get(_OURS, ()) if one.get("Id") != id]
            others = {name: value for name, value in standing.items() if name != _OURS}
            return standing if len(left) == len(standing.get(_OURS, ())) else others | ({_OURS: left} if left else {})

        self._change(bucket, removed, missing_is_fine=True)

    def _change(self, bucket: str, change: Callable[[Document], Document], *, missing_is_fine: bool = False) -> None:
        """Make a change until it is in what stands."""
        for _ in range(_TRIES):
            standing = self._read(bucket, missing_is_fine=missing_is_fine)
            wanted = change(standing)
            if wanted == standing:
                return
            self._write(bucket, wanted)
        raise ServiceError(f"What {bucket} tells others is changed by somebody else all the time. Try again in a minute.")

    def _read(self, bucket: str, *, missing_is_fine: bool = False) -> Document:
        try:
            answer = self._clients["s3"].get_bucket_notification_configuration(Bucket=bucket)
        except BOTO_ERRORS as error:
            if missing_is_fine and code_of(error) == "NoSuchBucket":
                return {}
            raise told(error, f"reading the notifications of {bucket}", unreachable=ServiceError) from None
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    def _write(self, bucket: str, document: Document) -> None:
        request = {"Bucket": bucket, "NotificationConfiguration": document, "SkipDestinationValidation": True}
        try:
            self._clients["s3"].put_bucket_notification_configuration(**request)
        except BOTO_ERRORS as error:
            failed = told(error, f"changing the notifications of {bucket}", unreachable=ServiceError)
            raise ConfigError(str(failed)) if code_of(error) == "InvalidArgument" else failed from None


def filter_of(path: str) -> list[dict[str, str]]:
    """Return the rules for the keys that a path means: a glob; without a wildcard a folder. They may let more keys pass, never fewer."""
    if not WILD.search(path):
        folder = path.rstrip("/")
        return _rules(f"{folder}/" if folder else "", "")
    head, tail = WILD.split(path, maxsplit=1)[0], path[max(map(path.rfind, "*?]")) + 1 :]
    return _rules(head, tail.removeprefix("/"))  # `**/` may be no name at all


def _rules(prefix: str, suffix: str) -> list[dict[str, str]]:
    prefix, suffix = _PLAIN.split(prefix, maxsplit=1)[0], _PLAIN.split(suffix)[-1]
    return [{"Name": name, "Value": value} for name, value in (("prefix", prefix), ("suffix", suffix)) if value]


def _refuse_shared(bucket: str, entry: Entry, standing: Document) -> None:
    """Refuse an entry that tells of objects of which another one tells already. Raises `ConfigError`."""
    prefix, suffix = _filter(entry)
    for name, called in _LISTS.items():
        for other in standing.get(name, ()):
            theirs, ending = _filter(other)
            created = any(event == "s3:*" or event.startswith("s3:ObjectCreated:") for event in other.get("Events", ()))
            if created and _overlap(prefix, theirs, str.startswith) and _overlap(suffix, ending, str.endswith):
                told_of = f"s3://{bucket}/{theirs}{f'*{ending}' if ending else ''}"
                raise ConfigError(
                    f"S3 tells of an upload once, and {bucket} tells {other.get(called)} of those at {told_of} already "
                    f"(notification {other.get('Id')!r}). Watch another folder, or remove that one first."
                )


def _filter(entry: Entry) -> tuple[str, str]:
    rules: Sequence[Mapping[str, str]] = entry.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    found = {rule["Name"].lower(): rule["Value"] for rule in rules}
    return found.get("prefix", ""), found.get("suffix", "")


def _overlap(one: str, other: str, holds: Callable[[str, str], bool]) -> bool:
    return holds(one, other) or holds(other, one)
