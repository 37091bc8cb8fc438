"""Stores are asked patiently: what may pass is asked again, what does not is said.

What a store refuses for good (no such file) is an OSError, as on a disk. One that does not answer is asked
again for some time, and then ends the run with a sentence, as does one that wants other credentials: other
samples in place of those that cannot be reached would be another run. No sentence names credentials.
"""

import errno
import logging
import os
import random
import re
import time
from collections.abc import Callable
from functools import lru_cache
from traceback import clear_frames
from typing import TypeVar

from xfm.core.errors import UserError, first_line
from xfm.data.sources.base import StaleError
from xfm.data.sources.stores import S3, SECONDS, Hub, RemoteStore, Web

T = TypeVar("T")
SCHEMES = {"s3": "s3fs", "hf": "huggingface_hub", "https": "aiohttp", "http": "aiohttp"}
"""Schemes of addresses that are read, and the library that fsspec needs for each."""
_FIRST, _LONGEST = 0.5, 15.0
"""Seconds before a store is asked again, which double; a little more or less, lest all ask at once."""
_SAID = 2.0
"""The wait with which it is said: single failures are common."""
_JITTER = random.SystemRandom()  # another one after a fork, too
_PASSING = frozenset({408, 425, 429})
"""Answers of web servers, besides those from 500 on, that may pass."""
_FINAL = (PermissionError, ValueError, TypeError, AttributeError)
_FINAL_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})
_FINAL_NUMBERS = frozenset({errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG})
"""What libraries make of answers that will not pass."""
_SECRETS = re.compile(r"(?<=://)[^/\s'\"@]*@|\?[^\s'\"]*")
_log = logging.getLogger(__name__)


class RefusedError(UserError):
    """A store refuses, and asking again does not help."""


def asked(url: str, ask: Callable[[RemoteStore], T], patience: float) -> T:
    """The answer of a store, asked again for `patience` seconds where it fails. Raises OSError where there is
    no such file, or another one now (`StaleError`); UserError where the store does not answer, refuses
    (`RefusedError`), or its library is not installed."""
    store, begun, wait = store_of(url), time.monotonic(), _FIRST
    while True:
        try:
            return ask(store)
        except (UserError, StaleError):
            raise
        except FileNotFoundError as error:
            clear_frames(error.__traceback__)  # fsspec's hold the error, and so all that led to it
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:  # every store's library has its own
            reason, passes = _reason(error)
            if not passes:
                raise RefusedError(
                    f"{url} cannot be read ({reason}): check the address and your rights"
                ) from error
            left = patience - (time.monotonic() - begun)
            if left <= 0:
                raise UserError(
                    f"{url} cannot be read ({reason}), for {max(0.0, patience):g} seconds now: see whether "
                    "the store answers, or raise data.remote.patience"
                ) from error
            if wait == _SAID:
                _log.warning("%s: no answer (%s); it is asked again for %.0f seconds", url, reason, left)
            time.sleep(min(left, wait * _JITTER.uniform(0.75, 1.25)))
            wait = min(2 * wait, _LONGEST)


def _reason(error: Exception) -> tuple[str, bool]:
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return f"HTTP {status}", status in _PASSING or status >= 500
    said = _SECRETS.sub("", first_line(error))
    name = type(error).__name__
    reason = said if said == name else f"{name}: {said}"
    final = isinstance(error, _FINAL) or name in _FINAL_NAMES
    return reason, not (final or (isinstance(error, OSError) and error.errno in _FINAL_NUMBERS))


def store_of(url: str) -> RemoteStore:
    """The store of an address; raises UserError where it is of no known kind, or its library is missing."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise UserError(f"{url}: shards are read from {', '.join(SCHEMES)}, not from {scheme}")
    return _opened(scheme, os.getpid())


@lru_cache(maxsize=8)
def _opened(scheme: str, process: int) -> RemoteStore:
    """The store of this process: fsspec's file systems are not made for a fork."""
    try:
        import fsspec

        if scheme == "s3":
            once = {"retries": {"max_attempts": 0}}  # it is asked again here
            system = fsspec.filesystem(
                "s3", skip_instance_cache=True, use_listings_cache=False, config_kwargs=once
            )
            system.retries = 1
            return S3(system)
        if scheme == "hf":
            return Hub(fsspec.filesystem("hf", skip_instance_cache=True))
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=10, sock_read=30)
        options = {"timeout": timeout, "trust_env": True}  # proxies, and names and passwords of ~/.netrc
        return Web(fsspec.filesystem(scheme, skip_instance_cache=True, client_kwargs=options))
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs {SCHEMES[scheme]}, which is not installed: pip install 'xfm[remote]'"
        ) from error
