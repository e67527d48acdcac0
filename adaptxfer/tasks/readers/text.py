"""Bounded reading of text files: plain or gzip, one clear sentence for whatever is wrong with them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from adaptxfer.errors import data_error
from adaptxfer.files import open_maybe_gz

MAX_BYTES = 8 << 30
"""No upstream file is larger than this when decompressed."""
MAX_RATIO, FREE_BYTES = 100, 256 << 20
"""Text compresses 3 to 10 times. Beyond ``FREE_BYTES``, more than ``MAX_RATIO`` times the file's size is refused."""
MAX_LINE = 64 << 20
"""The longest line, in bytes, of a file that is read line by line."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers from 1, without line ends (LF or CRLF) and byte-order mark.

    Raises:
        AdaptxferError: if the file is missing, damaged, not UTF-8 or beyond the limits of this module.
    """
    with _readable(path) as handle:
        number = 0
        while raw := handle.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                raise data_error(f"{path}, line {number} is longer than {MAX_LINE >> 20} MiB.", "Is it a text file?")
            yield number, _decode(path, number, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)


def read_whole(path: Path) -> str:
    """The text of a UTF-8 file that has to be parsed as a whole.

    Raises:
        AdaptxferError: as ``read_lines``.
    """
    with _readable(path) as handle:
        return _decode(path, 0, handle.read().removeprefix(b"\xef\xbb\xbf"), strip=False)


def _decode(path: Path, number: int, raw: bytes, strip: bool = True) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"line {number}, byte {error.start}" if number else f"byte {error.start}"
        raise data_error(f"{path} is not UTF-8 text ({place}).", "Convert it to UTF-8.") from error
    return text.removesuffix("\n").removesuffix("\r") if strip else text


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    try:
        size = path.stat().st_size
        with open_maybe_gz(path) as raw:
            limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * size))
            yield io.BufferedReader(_Limited(raw, limit, path), 1 << 16)
    except FileNotFoundError as error:
        raise data_error(f"{path} does not exist.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise data_error(f"{path} is a damaged gzip file ({error}).", "Fetch it again.") from error
    except OSError as error:
        raise data_error(f"{path} cannot be read: {error.strerror or error}.") from error


class _Limited(io.RawIOBase):
    """Passes bytes on until there are more of them than a real data file holds."""

    def __init__(self, raw: BinaryIO, limit: int, path: Path) -> None:
        self.raw, self.left, self.limit, self.path = raw, limit, limit, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self.raw.readinto(buffer)  # type: ignore[attr-defined]
        self.left -= count
        if self.left < 0:
            raise data_error(
                f"{self.path} unpacks to more than {self.limit >> 20} MiB, which no data file of this size does.",
                "Check where the file comes from.",
            )
        return count
