"""Files as every room uses them: atomic writes, content hashes, safe names, the offline switch."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import io
import json
import os
import re
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from adaptxfer.errors import data_error, use_error

NAME = re.compile(r"[A-Za-z0-9_-]+")
"""What may become part of a path or a module name."""
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Names of files that `atomic_file` has not finished."""

UNPACKED, RATIO = 64 << 20, 100
"""Text compresses 3 to 10 times. Beyond so many bytes, more than so many times the file's size is refused."""


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is safe as a path component.

    Raises:
        AdaptxferError: if it is empty, too long or has other characters than letters, digits, dash, underscore.
    """
    if not NAME.fullmatch(name) or len(name) > 100:
        raise use_error(f"{what} {name!r} is not usable as a name.", "Use letters, digits, dash and underscore only.")
    return name


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error.

    Raises:
        AdaptxferError: if the disk is full or the folder cannot be written; ``path`` is then as it was before.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path, older_than: float = 0.0) -> None:
    """Remove what writes leave in a folder, and below it, when their process is killed.

    Args:
        folder: in which nobody else writes now, or
        older_than: seconds that a file must have lain there, where somebody may.
    """
    for path in folder.rglob(".*"):
        try:
            if TEMPORARY.fullmatch(path.name) and path.is_file() and time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
        except OSError:  # gone already, or not ours
            continue


def write_error(path: Path, error: OSError) -> Exception:
    """The sentence for a failed write: full disk, no permission, or what the system said."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return data_error(f"No space left while writing {path}.", "Free some space and run the same command again.")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return data_error(f"{path} cannot be written: {error.strerror}.", "Choose another folder (runs: --runs DIR).")
    if file := next((part for part in (path.parent, *path.parent.parents) if part.is_file()), None):
        return data_error(f"{path} cannot be written: {file} is a file, not a folder.", "Name another folder.")
    return data_error(f"Writing {path} failed: {error.strerror or error}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, what: str = "file") -> Any:
    """Read a JSON file.

    Raises:
        AdaptxferError: if it is missing, unreadable or not JSON; the sentence names ``what`` and the place.
    """
    text = read_text(path, what)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise data_error(
            f"{what} {path} is not valid JSON (line {error.lineno}: {error.msg}).", "Was it cut off? Fetch it again."
        ) from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise data_error(f"{what} {path} is nested too deeply or holds an endless number.") from error


def read_text(path: Path, what: str = "file") -> str:
    """Read a UTF-8 text file, gzip or not (told by its content), without a byte-order mark.

    Raises:
        AdaptxferError: if it is missing, unreadable, truncated, not UTF-8, or unpacks to more than any text does.
    """
    try:
        limit = max(UNPACKED, RATIO * path.stat().st_size)
        found = bytearray()
        with open_maybe_gz(path) as handle:
            while piece := handle.read(1 << 20):
                found += piece
                if len(found) > limit:
                    told = f"{what} {path} unpacks to more than {limit >> 20} MiB, which no text of its size does."
                    raise data_error(told, "Check where the file comes from.")
        return found.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise data_error(f"{what} {path} does not exist.") from error
    except UnicodeDecodeError as error:
        raise data_error(f"{what} {path} is not UTF-8 text (byte {error.start}).", "Convert it to UTF-8.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise data_error(f"{what} {path} is a damaged gzip file ({error}).", "Fetch it again.") from error
    except OSError as error:
        raise data_error(f"{what} {path} cannot be read: {error.strerror or error}.") from error


def csv_rows(text: str, where: str) -> tuple[list[str], list[tuple[int, dict[str | None, Any]]]]:
    """Column names and rows of a table with a first line of names: line number, and cells by column.

    Args:
        text: separated by tabs if its first line has one, else by commas.
        where: named in the sentence.

    Raises:
        AdaptxferError: if it is not valid CSV.
    """
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text.split("\n", 1)[0] else ",")
    try:
        return list(reader.fieldnames or ()), [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise data_error(f"{where}, line {reader.line_num + 1}: not valid CSV ({error}).", "Mend the line.") from error


def open_maybe_gz(path: Path) -> BinaryIO:
    """Open for reading bytes; a gzip file is decompressed whatever its name is."""
    handle = path.open("rb")
    magic = handle.read(2)
    handle.seek(0)
    return gzip.GzipFile(fileobj=handle) if magic == b"\x1f\x8b" else handle  # type: ignore[return-value]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_hash(value: Any, length: int = 8) -> str:
    """A short hash of any JSON value that does not depend on key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def derived_seed(seed: int, *names: str) -> int:
    """A seed for one stage and name, so that the order of construction changes nothing (31 bits)."""
    text = "/".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF


def cache_dir() -> Path:
    """Where features are cached: ``ADAPTXFER_CACHE`` or the user's cache folder."""
    if custom := os.environ.get("ADAPTXFER_CACHE"):
        return Path(custom)
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "adaptxfer"


def home() -> Path:
    """The user's folder; the root, where nothing can be written, for a user without one (containers have such)."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.sep)


def is_offline() -> bool:
    """True if the Hub must not be asked (``--offline`` or ``HF_HUB_OFFLINE=1``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def set_offline() -> None:
    """Keep every library of this process and its children off the network."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
