"""The Hub client: patience with a busy server, and one sentence per failure with nothing secret in it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from adaptxfer.console import console
from adaptxfer.errors import AdaptxferError, data_error, use_error
from adaptxfer.files import is_offline

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

PAUSES = (1.0, 3.0, 9.0)
"""Seconds before each further try."""
LONGEST_PAUSE = 60.0
BUSY = (429, 500, 502, 503, 504)
_SECRET = re.compile(r"hf_[A-Za-z0-9]{6,}|(?<=Bearer )\S+")
_QUERY = re.compile(r"(https?://[^\s?]*)\?\S*")


def check_repo(repo: str) -> str:
    """Return ``repo`` if it is an owner and a name.

    Raises:
        AdaptxferError: if it is anything else.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise _no_repo(repo) from error
    if repo.count("/") != 1:
        raise _no_repo(repo)
    return repo


def check_revision(revision: str | None) -> str | None:
    """Return ``revision`` if it can name a branch, a tag or a commit.

    Raises:
        AdaptxferError: if it cannot.
    """
    if revision is not None and (not re.fullmatch(r"[\w][\w./-]{0,99}", revision, re.ASCII) or ".." in revision):
        raise use_error(f"{revision!r} is no revision.", "Give a branch, a tag or a commit.")
    return revision


def _no_repo(repo: str) -> AdaptxferError:
    return use_error(f"{repo!r} is no repository of the Hub.", "Use owner/name, such as your-name/xnli-adapter.")


@contextmanager
def asking(repo: str, doing: str) -> Iterator[HfApi]:
    """A client; what goes wrong inside the block is told in a sentence about ``doing`` something with ``repo``.

    Raises:
        AdaptxferError: for everything that the Hub, the network or the disk refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    from adaptxfer.hub.patience import be_patient

    be_patient()
    if console().mode != "rich":
        disable_progress_bars()
    try:
        yield HfApi(library_name="adaptxfer")
    except AdaptxferError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
    ) as error:  # HTTP errors are OSErrors, failed uploads RuntimeErrors
        raise _sentence(error, repo, doing) from None  # the chain holds addresses and headers


def patient(call: Callable[[], T], again_after_loss: bool = True) -> T:
    """Do ``call``; try again after a pause while the Hub is busy or the connection is lost.

    Args:
        call: what to do.
        again_after_loss: False if the call must not be repeated when its answer was lost.
    """
    for pause in PAUSES:
        try:
            return call()
        except (OSError, RuntimeError) as error:
            lost = again_after_loss and _is_lost(error)
            if _status(error) not in BUSY and not lost:
                raise
            wait = min(_retry_after(error) or pause, LONGEST_PAUSE)
            console().note(f"The Hub {'is busy' if not lost else 'does not answer'}; trying again in {wait:.0f} s.")
            time.sleep(wait)
    return call()


def redact(text: str) -> str:
    """``text`` without tokens and without the signed part of addresses."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if secret := os.environ.get(name, "").strip():
            text = text.replace(secret, "***")
    return _QUERY.sub(r"\1", _SECRET.sub("***", text))


def _chain(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    answers = (getattr(cause, "response", None) for cause in _chain(error))
    return next((answer.status_code for answer in answers if answer is not None), None)


def _retry_after(error: BaseException) -> float | None:
    answers = (getattr(cause, "response", None) for cause in _chain(error))
    said = next((answer.headers.get("Retry-After") for answer in answers if answer is not None), None)
    return float(said) if said and said.isascii() and said.isdigit() else None


def _is_lost(error: BaseException) -> bool:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout

    return any(isinstance(cause, ConnectionError | ChunkedEncodingError | Timeout) for cause in _chain(error))


def _is_slow(error: BaseException) -> bool:
    from requests.exceptions import Timeout
    from urllib3.exceptions import TimeoutError as PoolTimeout

    return any(isinstance(cause, Timeout | PoolTimeout | TimeoutError) for cause in _chain(error))


def _sentence(error: Exception, repo: str, doing: str) -> AdaptxferError:
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kinds, status = [type(cause) for cause in _chain(error)], _status(error)
    what = f"{doing} {repo}"

    def has(*wanted: type) -> bool:
        return any(issubclass(kind, wanted) for kind in kinds)

    if has(OfflineModeIsEnabled) or (is_offline() and has(LocalEntryNotFoundError)):
        return data_error(f"{what} failed: --offline is set and it is not in the cache.", "Do it online once.")
    if has(GatedRepoError):
        return data_error(f"{repo} asks you to accept its terms first.", "Accept them on its page and set HF_TOKEN.")
    if has(RevisionNotFoundError):
        return data_error(f"{repo} has no such revision.", "Leave out --revision for the newest.")
    if has(RepositoryNotFoundError, LocalTokenNotFoundError) or status == 401:
        return data_error(
            f"{what} failed: it does not exist, or it is private and you are not known.",
            "Check the spelling, and set HF_TOKEN or run `hf auth login`.",
        )
    said = {
        403: ("your token does not allow it.", "Use a token that may write there."),
        409: ("it was changed by somebody else meanwhile.", "Look at it, then run the same command again."),
        412: ("it was changed by somebody else meanwhile.", "Look at it, then run the same command again."),
        429: ("the Hub asks to slow down (429).", "Wait some minutes and run the same command again."),
    }
    if status in said:
        return data_error(f"{what} failed: {said[status][0]}", said[status][1])
    if status is not None and status >= 500:
        return data_error(f"{what} failed: the Hub has a fault ({status}).", "Run the same command again later.")
    if _is_slow(error):
        return data_error(
            f"{what} failed: the answer did not come in time.", "Run the same command again; it continues."
        )
    if _is_lost(error):
        return data_error(f"{what} failed: the connection was lost.", "Run the same command again; it continues.")
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return data_error(f"{what} failed: {redact(first).rstrip('.')}.", "Run the same command again.")
