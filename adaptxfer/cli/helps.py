"""What ``--help`` prints: lines of plain text that fit any terminal, read well aloud and cut no name off."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from adaptxfer.console import console

TYPE = re.compile(r" <(?:list\[)?(\w+)[^>]*>")
"""The programmer's name of a value's type, as the framework shows it."""
VALUES = {"path": "PATH", "int": "N", "float": "NUMBER"}
RANGE = re.compile(r"\bx([<>]=?)([\d.]+)")
NARROW = 64
"""Below so many columns a text stands under its name, not beside it."""
WIDEST = 100
LEFT = 2, 26
"""Columns where names and texts start."""

Entry = tuple[str, str]


def use(command: Any) -> Any:
    """Have ``command`` and all commands below it show their help this way; the command itself."""
    command.format_help = functools.partial(_write, command)
    for below in getattr(command, "commands", {}).values():
        use(below)
    return command


def _write(command: Any, context: Any, formatter: Any) -> None:
    width = min(console().width(sys.stdout), WIDEST)
    formatter.write("\n".join(_lines(command, context, width, console().mode == "rich")) + "\n")


def _lines(command: Any, context: Any, width: int, bold: bool) -> Iterator[str]:
    usage = f"Usage: {context.command_path} {' '.join(map(_usage, command.collect_usage_pieces(context)))}"
    yield from textwrap.wrap(usage, width, subsequent_indent="  ", break_on_hyphens=False)
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield ""
        yield from textwrap.wrap(paragraph, width, break_on_hyphens=False)
    for title, entries in _groups(command, context).items():
        yield from ("", f"{title}:")
        for name, text in entries:
            yield from _entry(name, text, width, bold)


def _usage(piece: str) -> str:
    """``{TASK...}...`` as people write it: ``TASK...``, in brackets if it may be left out."""
    name = piece.strip("[]{}.")
    if piece == "[OPTIONS]" or " " in name:
        return piece
    repeated = "..." if piece.endswith("...") else ""
    return f"[{name}{repeated}]" if piece.startswith("[") else f"{name}{repeated}"


def _groups(command: Any, context: Any) -> dict[str, list[Entry]]:
    """Name and text of each argument, of each option by its group, and of each command."""
    found: dict[str, list[Entry]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            argument = parameter.param_type_name == "argument"
            title = "Arguments" if argument else getattr(parameter, "rich_help_panel", None) or "Options"
            found.setdefault(title, []).append(_said(parameter.opts, record, argument))
    commands = getattr(command, "commands", {})
    found["Commands"] = [(name, _first(below.help)) for name, below in commands.items() if not below.hidden]
    return {title: entries for title, entries in found.items() if entries}


def _said(opts: Sequence[str], record: Entry, argument: bool) -> Entry:
    name, text = record
    if argument:
        name = TYPE.sub("", name).strip("[]")
    else:
        value = TYPE.search(name)
        name = ", ".join(sorted(opts, key=len)) + (f" {VALUES.get(value[1].lower(), 'TEXT')}" if value else "")
    text = RANGE.sub(lambda found: f"{'at least' if '>' in found[1] else 'at most'} {found[2]}", text)
    return name, text.replace("  [", " [").replace("env var: ", "variable ")


def _first(text: str | None) -> str:
    """The first paragraph on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def _entry(name: str, text: str, width: int, bold: bool) -> Iterator[str]:
    start, column = LEFT
    below = width < NARROW
    indent = " " * (2 * start if below else column)
    head = " " * start + name
    lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False) or [""]
    told = f"\x1b[1m{head}\x1b[0m" if bold else head
    if below or len(head) + 2 > column:
        yield from (told, *lines) if text else (told,)
    else:
        yield f"{told}{lines[0][len(head) :]}"
        yield from lines[1:]
