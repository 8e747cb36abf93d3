"""The result of a job, on its way out: as one DataFrame, its first rows, piece by piece, or as files.

Rules of this module:

* Nothing is handed out before it was checked: what is read is what was written. So there is no lazy dataset over the stored parts, which
  would read past their checksums; `to_parquet` makes files that are one's own, and those may be read by anything.
* What is larger than memory is never loaded by surprise.
* pandas is imported when somebody asks for rows, because workers import this module, and must not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

from smr_notebook.errors import ConfigError
from smr_notebook.model import Part
from smr_notebook.ports import Backend

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from sqlalchemy import URL, Engine

    from smr_notebook.backends.sql.sink import SqlSink, WrittenTable
    from smr_notebook.dataflow.export_items import WrittenItems
    from smr_notebook.dataflow.export_targets import Target
    from smr_notebook.dataflow.exporting import WrittenFiles

_SQL_ROWS = 1_000
"""Rows that a database is sent at a time."""


def sql_place(database: object, table: object, *, if_exists: object, schema: str | None) -> AbstractContextManager[SqlSink]:
    """Return what writes to a table of a database, as a context. Arguments as of `ReadableJob.to_sql`.

    Raises:
        ConfigError: SQLAlchemy is not installed; in the context, one of the arguments makes no sense.
    """
    try:
        from smr_notebook.backends.sql.sink import sql_sink  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ConfigError(f"to_sql needs {error.name}, which is not installed: `pip install 'smr_notebook[sql]'` brings it.") from None
    return sql_sink(database, table, if_exists=if_exists, schema=schema)


class ReadableJob(ABC):
    """The side of a `Job` that gives its result."""

    _backend: Backend
    _result_limit: int

    @abstractmethod
    def _finished(self) -> tuple[Part, ...]:
        """Wait for the result, warn of what it leaves out, and return its parts."""

    def result(self) -> pd.DataFrame:
        """Wait, and return the result: a DataFrame with the columns key and value, in key order.

        Warns:
            LeftOutWarning: Something was left out, as `on_error` asked for: see `bad`.

        Raises:
            JobError: The job failed, or was cancelled.
            ResultTooLargeError: The result exceeds the session's `result_limit`; the message says what to do.
            CorruptObjectError: A part is not what was written.
        """
        from smr_notebook.dataflow.results import load_frame  # noqa: PLC0415 - see above

        return load_frame(self._backend.objects, self._finished(), limit_bytes=self._result_limit)

    def head(self, rows: int = 5) -> pd.DataFrame:
        """Wait, and return the first rows of the result in key order, without reading all of it.

        Raises:
            JobError: The job failed, or was cancelled.
            ResultTooLargeError: So many rows, of the size that rows of the result have on the average, exceed the session's `result_limit`.
            CorruptObjectError: What was read is not what was written.
        """
        from smr_notebook.dataflow.results import head_frame  # noqa: PLC0415 - see above

        return head_frame(self._backend.objects, self._finished(), rows, limit_bytes=self._result_limit)

    @overload
    def scan(self, as_: Literal["pandas"] = "pandas") -> Iterator[pd.DataFrame]: ...

    @overload
    def scan(self, as_: Literal["arrow"]) -> Iterator[pa.Table]: ...

    @overload
    def scan(self, as_: Literal["polars"]) -> Iterator[pl.DataFrame]: ...

    def scan(self, as_: object = "pandas") -> Iterator[Any]:
        """Wait, and yield the result piece by piece, each of bounded size: for results that do not fit in memory.

        Each partition is in key order; the partitions follow each other by number. Each piece is checked as a whole before it is given.

        Args:
            as_: What the pieces are: `pandas` or `polars` DataFrames, or `arrow` Tables. In the latter two each column has one type.

        Raises:
            ConfigError: There is no such library; or a column has values of types that Arrow does not bring together: only pandas does.
            PlanError: The library is not installed.
        """
        from smr_notebook.dataflow.exporting import iter_pieces  # noqa: PLC0415 - see above
        from smr_notebook.dataflow.frames.rows import LIBRARIES, library  # noqa: PLC0415 - see above

        if not isinstance(as_, str) or as_ not in LIBRARIES:
            raise ConfigError(f"scan({as_!r}): pieces of a result are {', '.join(LIBRARIES)}.")
        frames = library(as_)  # before anybody waits for what could not be given
        return iter_pieces(self._backend.objects, self._finished(), None if as_ == "pandas" else frames)

    def to_parquet(self, path: str | PathLike[str], *, overwrite: bool = False) -> WrittenFiles:
        """Wait, and write the result to Parquet files of one's own: what `scan("arrow")` gives, with one schema for all.

        What is read is checked on the way. What the columns are does not depend on how the rows were dealt to partitions. Under the name
        there is nothing until all is written; in a bucket, what is replaced is deleted, and objects appear one by one, each as a whole.

        Args:
            path: A folder that is made, with a file for each piece; or one file, whose name ends in `.parquet`, and in no slash. Of this
                machine, or `s3://bucket/...` where the platform of the session can write there.
            overwrite: Whether to replace what is there: a file, or a folder that holds nothing but what this wrote.

        Returns:
            What was written.

        Raises:
            ConfigError: It is no path; something is there already, or nothing can be written there; or a column has values of types that
                go into no one column of Parquet.
            StoreError: The files cannot be written.
            CorruptObjectError: A part is not what was written.
        """
        from smr_notebook.dataflow.export_targets import target_of  # noqa: PLC0415 - see above

        backend = self._backend
        return self._export(target_of(path, overwrite=overwrite, targets=backend.targets, platform=backend.name))

    def export(
        self,
        path: str | PathLike[str],
        *,
        format: Literal["parquet", "csv", "jsonl", "text"] | None = None,
        files: Literal["one", "partitions"] | None = None,
        overwrite: bool = False,
    ) -> WrittenFiles:
        """Wait, and write the result to files of any format, all of it or nothing: else as `to_parquet` does.

        In CSV a missing value is an empty field, and text stands in quotes. In JSON lines, times are in ISO 8601, and decimals are text.
        Lines of text are key and value with a tab between them. Beside the files of a folder stands its mark `_SUCCESS`, which names them.

        Args:
            path: As of `to_parquet`; the name of one file may also end in `.csv`, `.jsonl` or `.txt`.
            format: Of the files; what the name says if not given, and Parquet where that says nothing.
            files: `one` for one file of all rows, `partitions` for one of each partition that has rows. If not given, a name that ends as
                one of a file does is one file, and a folder has one for each piece.
            overwrite: As of `to_parquet`.

        Raises:
            ConfigError, StoreError, CorruptObjectError: As `to_parquet` does; also where the format has no way to write a value.
        """
        from smr_notebook.dataflow.export_shapes import PARQUET, TEXTS  # noqa: PLC0415 - see above
        from smr_notebook.dataflow.export_targets import target_of  # noqa: PLC0415 - see above

        backend = self._backend
        target = target_of(
            path,
            overwrite=overwrite,
            targets=backend.targets,
            platform=backend.name,
            suffixes=(*PARQUET, *TEXTS),
            format=format,
            files=files,
            verb="export",
        )
        return self._export(target)

    def to_sql(
        self,
        database: str | URL | Engine,
        table: str,
        *,
        if_exists: Literal["fail", "append", "replace"] = "fail",
        schema: str | None = None,
    ) -> WrittenTable:
        """Wait, and write the result to a table of a database, through SQLAlchemy: all of it or nothing.

        What the columns are is what `to_parquet` writes, each of the type that holds its values exactly. Needs the extra `sql`, and the
        driver of the database. No message has the password.

        Args:
            database: A URL of SQLAlchemy (`postgresql+psycopg://…`, `sqlite:///file.db`), or an engine: SQLite, PostgreSQL, MySQL, MariaDB,
                SQL Server.
            table: Name of the table.
            if_exists: What becomes of a table that stands: `fail` (it stays, and nothing is written), `append` (rows are added to it), or
                `replace` (it goes, with all that it has, in the same step).
            schema: Where the table stands in the database; where the database puts it if not given.

        Returns:
            What was written.

        Raises:
            ConfigError: A table stands that must not, or one that lacks a column or has another type for it; a row breaks a rule of
                the table; the database does not hold a value exactly; or it is no database.
            StoreError: The database failed, or something could not be kept on the disk on its way.
            CorruptObjectError: A part is not what was written.
        """
        from smr_notebook.dataflow.exporting import staged_result  # noqa: PLC0415 - see above

        with sql_place(database, table, if_exists=if_exists, schema=schema) as sink:
            sink.check()  # before anybody waits
            with staged_result(self._backend.objects, self._finished()) as staged:
                return sink.write(staged.schema, staged.tables(_SQL_ROWS))

    def to_dynamodb(self, table: str, *, names: Mapping[str, str] | None = None) -> WrittenItems:
        """Wait, and write the result to a table of DynamoDB, an item for each row: from a session on AWS, with your own credentials.

        All rows are looked at before the first is written. Items replace what has their key, so that to write twice is to write once; they
        appear one after the other, and what fails in between is completed by writing again. A missing value is an attribute less. A float
        is the shortest decimal that gives it again, and dates and times are text in ISO 8601.

        Args:
            table: Its name, or `dynamodb://name`. The attributes of its key must be columns of the result.
            names: What columns are called in the table, where that is something else: `{"key": "user"}`.

        Returns:
            What was written.

        Raises:
            ConfigError: There is no such table; a column is not there; two rows have one key, or one has none; or the table does not hold
                a row: NaN, more than 38 digits, more than 400 KB. Nothing was written.
            StoreError: The table failed; items that were written stay.
            CorruptObjectError: A part is not what was written.
        """
        from smr_notebook.dataflow.export_items import open_items, write_items  # noqa: PLC0415 - see above
        from smr_notebook.dataflow.exporting import staged_result  # noqa: PLC0415 - see above

        backend = self._backend
        place = open_items(table, sinks=backend.item_sinks, platform=backend.name, names=names or {})  # before anybody waits
        with staged_result(backend.objects, self._finished()) as staged:
            return write_items(staged, place)

    def _export(self, target: Target) -> WrittenFiles:
        from smr_notebook.dataflow.exporting import export  # noqa: PLC0415 - see above

        target.check()  # before anybody waits
        return export(self._backend.objects, self._finished(), target)
