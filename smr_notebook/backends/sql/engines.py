"""Databases as a user names them: by a URL of SQLAlchemy, or by an engine that they made themselves.

Rules of this module:

* No message has a password: a database is called by its dialect, host and name alone, and what it answers is searched for what the URL
  keeps secret. SQLAlchemy's own errors, which carry statements with values, are never chained.
* An engine that is given stays the user's: it is not closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, quote_plus

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from smr_notebook.backends.sql.dialects import DIALECTS
from smr_notebook.errors import ConfigError, SmrError, StoreError
from smr_notebook.values.suggestions import near

_LONGEST: Final = 300
_EXAMPLE: Final = "postgresql+psycopg://user@host/database, sqlite:///file.db"


@contextmanager
def opened(database: object) -> Iterator[Engine]:
    """Give an engine for what the user named.

    Raises:
        ConfigError: It is no database that this can write to.
    """
    if isinstance(database, Engine):
        _check_dialect(database.dialect.name)
        yield database
        return
    if not isinstance(database, str | URL):
        raise ConfigError(f"to_sql: a {type(database).__name__} is no database. Give a URL ({_EXAMPLE}), or a sqlalchemy.Engine.")
    engine = _made(database)
    try:
        yield engine
    finally:
        engine.dispose()


def name_of(engine: Engine) -> str:
    """Return what a database is called in messages: without user, password and options."""
    url = engine.url
    host = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    return f"{url.get_backend_name()}://{host}/{url.database or ''}"


@contextmanager
def telling(engine: Engine, doing: str) -> Iterator[None]:
    """Raise what a database refuses as an error of ours, without a secret: `ConfigError` where a row breaks a rule, else `StoreError`."""
    try:
        yield
    except SmrError:
        raise
    except IntegrityError as error:
        raise ConfigError(f"{doing}: {name_of(engine)} refuses a row: {_told(error, engine.url)}. Nothing was written.") from None
    except SQLAlchemyError as error:
        raise StoreError(f"{doing}: {name_of(engine)} says: {_told(error, engine.url)}. Nothing was written.") from None


def _made(database: str | URL) -> Engine:
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        raise ConfigError(f"to_sql: the database is named by no URL that can be read. Write it as in {_EXAMPLE}.") from None
    dialect = url.get_backend_name()
    _check_dialect(dialect)
    if dialect == "sqlite" and _in_memory(url):
        raise ConfigError(
            "to_sql: a SQLite database in memory is gone when this returns. Name a file, or give the engine that you read with."
        )
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise ConfigError(f"to_sql: {url.drivername} needs the package {error.name}, which is not installed. Install it.") from None
    except NoSuchModuleError:
        raise ConfigError(
            f"to_sql: SQLAlchemy knows no driver {url.drivername!r}. Leave out what stands behind the +, or correct it."
        ) from None
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigError(f"to_sql: {url.drivername} cannot be used: {_without_secrets(str(error), url)}.") from None


def _in_memory(url: URL) -> bool:
    """Whether a database of SQLite is in memory: without a name, or as one that the options of a URI say so of."""
    name = (url.database or "").removeprefix("file:")
    return name.partition("?")[0] in {"", ":memory:"} or "memory" in _values(url, "mode") or "mode=memory" in name


def _values(url: URL, option: str) -> tuple[str, ...]:
    found = url.query.get(option, ())
    return (found,) if isinstance(found, str) else found


def _check_dialect(name: str) -> None:
    if name in DIALECTS:
        return
    known = f"(known are {', '.join(DIALECTS)}).{near(name, DIALECTS)}"
    raise ConfigError(
        f"to_sql: what {name!r} does to values is not known here, so nothing is written to it {known} "
        "Write files with to_parquet, and load them there."
    )


def _told(error: SQLAlchemyError, url: URL) -> str:
    """Return what went wrong in one line: the driver's own words, without statement and values."""
    said = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    line = " ".join(_without_secrets(said, url).split())
    return (line[:_LONGEST] + "…" if len(line) > _LONGEST else line).rstrip(".")


def _without_secrets(text: str, url: URL) -> str:
    options = [value for values in url.query.values() for value in ([values] if isinstance(values, str) else values)]
    for secret in filter(None, [url.password and str(url.password), *options]):
        forms = {secret, quote(secret, safe=""), quote_plus(secret)}
        text = re.sub("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), "***", text)
    return text
