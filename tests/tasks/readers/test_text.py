from __future__ import annotations

import gzip

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.readers import text


def test_line_ends_and_byte_order_mark(write):
    path = write("a.txt", b"\xef\xbb\xbfone\r\ntwo\n\nthree \xe2\x80\xa8 same line")
    assert list(text.read_lines(path)) == [(1, "one"), (2, "two"), (3, ""), (4, "three \u2028 same line")]


def test_packed_or_not_is_told_by_content(write, here):
    path = write("a.txt.gz", "one\n")
    path.rename(here / "a.txt")
    assert list(text.read_lines(here / "a.txt")) == [(1, "one")]
    assert text.read_whole(here / "a.txt") == "one\n"


@pytest.mark.parametrize("size", [5, 20, 40])
def test_a_cut_gzip_file(write, size):
    path = write("a.gz", "many words, all different\n" * 5 + "".join(map(chr, range(33, 127))))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(AdaptxferError, match="damaged gzip"):
        list(text.read_lines(path))


def test_a_corrupt_gzip_file(write):
    path = write("a.gz", bytes(range(256)) * 40)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 255  # the checksum
    path.write_bytes(bytes(raw))
    with pytest.raises(AdaptxferError, match=r"damaged gzip|not UTF-8"):
        text.read_whole(path)


def test_not_text(write):
    with pytest.raises(AdaptxferError, match=r"not UTF-8 text \(line 2, byte 1\)"):
        list(text.read_lines(write("a.txt", b"ok\nx\xff\n")))


def test_missing_file_and_folder(here):
    with pytest.raises(AdaptxferError, match="does not exist"):
        list(text.read_lines(here / "none"))
    with pytest.raises(AdaptxferError, match="cannot be read"):
        list(text.read_lines(here))


def test_a_gzip_bomb_is_refused(here, monkeypatch):
    monkeypatch.setattr(text, "FREE_BYTES", 1 << 20)
    path = here / "bomb.gz"
    path.write_bytes(gzip.compress(b"\n" * (5 << 20)))
    with pytest.raises(AdaptxferError, match="unpacks to more than"):
        text.read_whole(path)
    with pytest.raises(AdaptxferError, match="unpacks to more than"):
        list(text.read_lines(path))


def test_an_endless_line_is_refused(write, monkeypatch):
    monkeypatch.setattr(text, "MAX_LINE", 100)
    with pytest.raises(AdaptxferError, match="line 2 is longer"):
        list(text.read_lines(write("a.txt", "ok\n" + "x" * 200)))
