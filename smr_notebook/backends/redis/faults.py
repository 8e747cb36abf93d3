"""What a Redis answers when it does not do what it is asked, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from smr_notebook.errors import ConfigError, StoreError


def full(address: str, what: str) -> StoreError:
    """Return the error of a Redis that has no room."""
    return StoreError(
        f"The Redis at {address} has no room: {what}. Give it more memory (maxmemory), remove what else is in it, let fewer jobs run at "
        "once, or combine before the pairs travel; exchange='objects' has no such limit."
    )


@contextmanager
def asking(address: str) -> Iterator[None]:
    """Give what goes wrong inside the name of our errors.

    Raises:
        ConfigError: Redis does not let us in, or not do what we need.
        StoreError: It cannot be reached, or has no room.
    """
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise _refused(address, error) from None
    except OutOfMemoryError as error:
        raise full(address, _told(error)) from None
    except ResponseError as error:
        if "NOAUTH" in str(error) or "Authentication required" in str(error):
            raise _refused(address, error) from None
        raise StoreError(f"The Redis at {address} does not do what it is asked: {_told(error)}.") from None
    except RedisError as error:
        text = f"The Redis at {address} cannot be reached: {_told(error)}"
        raise StoreError(f"{text}. Check that it runs, and that workers can reach it.") from None


def _told(error: RedisError) -> str:
    """Return what an error says, without the full stop that some end with."""
    return str(error).rstrip(".")


def _refused(address: str, error: RedisError) -> ConfigError:
    return ConfigError(
        f"The Redis at {address} does not let us in: {_told(error)}. Each process has the credentials from settings of its own, and never "
        "from a job: set SMR_REDIS_URL=redis://user:password@host:port/0 where the workers run, too. On this machine they have the "
        "environment of whoever started their service: set it before the first job, or end the service with session.close()."
    )
