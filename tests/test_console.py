from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from adaptxfer._progress import LINES, PlainBars, duration_text
from adaptxfer.console import Console, Table, console, jsonable, set_console
from adaptxfer.errors import INTERRUPTED, AdaptxferError, use_error

TABLE = Table(
    "xnli: accuracy",
    ["language", ("with", "right"), "n", "ok", "note"],
    [["sw", 71.25, 5010, True, "a|b"], ["中文", None, 600, False, "x\ny"]],
    "points",
)


class Stream(io.StringIO):
    """A stream with an encoding that really encodes."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


def make(mode: str | None = "plain", encoding: str = "utf-8", terminal: bool = False, width: int = 80) -> Console:
    return Console(mode, Stream(encoding, terminal), Stream(encoding, terminal), width)


def said(screen: Console) -> str:
    return screen.err.getvalue()


def shown(screen: Console) -> str:
    return screen.out.getvalue()


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_mode_is_chosen_by_streams_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(None, terminal=True).mode == "rich"
    assert make(None, terminal=False).mode == "plain"
    assert Console(None, Stream(terminal=True), Stream(terminal=False)).mode == "plain"
    monkeypatch.setenv("TERM", "dumb")
    assert make(None, terminal=True).mode == "plain"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert make(None, terminal=True).mode == "plain"
    with pytest.raises(ValueError):
        Console("loud")


def test_talk_goes_to_stderr_and_results_to_stdout() -> None:
    screen = make()
    screen.note("reading")
    screen.warn("few rows")
    screen.error(use_error("Expected a, found b.", "Use a."))
    screen.error(AdaptxferError("Interrupted.", "Again.", INTERRUPTED))
    screen.result("done")
    assert said(screen).splitlines() == [
        "reading",
        "warning: few rows",
        "error: Expected a, found b.",
        "  Use a.",
        "stopped: Interrupted.",
        "  Again.",
    ]
    assert shown(screen) == "done\n"


def test_names_from_elsewhere_do_not_steer_the_terminal() -> None:
    for mode in ("plain", "rich", "json"):
        screen = make(mode, terminal=True)
        screen.note("a\x1b[2J[bold]b\x07 :smile: \u202e")
        screen.table(Table("\x1b]0;x\x07", ["c"], [["\x1b[31m"]]))
        text = said(screen) + shown(screen)
        assert "\x1b[2J" not in text and "\x1b[31m" not in text and "\x1b]" not in text and "\u202e" not in text
        assert "[bold]b" in text and ":smile:" in text


def test_json_mode_prints_one_document() -> None:
    screen = make("json")
    screen.note("reading")
    screen.tree("a\n  b")
    screen.table(TABLE)
    with screen.progress(2, "work") as bar:
        bar.update(2)
    screen.result({"a": float("nan"), "p": Path("x"), "t": (1, 2)}, TABLE)
    screen.error(use_error("Late."))
    assert json.loads(shown(screen)) == {"a": None, "p": "x", "t": [1, 2]}
    for word in ("reading", "  b", "xnli", "work", "Late"):
        assert word in said(screen)
    with pytest.raises(RuntimeError):
        screen.result({})


def test_json_mode_reports_an_error_as_the_document() -> None:
    screen = make("json")
    screen.error(use_error("Expected a.", "Use a."))
    assert json.loads(shown(screen)) == {"error": {"message": "Expected a.", "hint": "Use a.", "code": 1}}


def test_table_as_json_and_markdown() -> None:
    assert TABLE.to_json() == {
        "schema": 1,
        "title": "xnli: accuracy",
        "rows": [
            {"language": "sw", "with": 71.25, "n": 5010, "ok": True, "note": "a|b"},
            {"language": "中文", "with": None, "n": 600, "ok": False, "note": "x\ny"},
        ],
        "caption": "points",
    }
    assert jsonable(TABLE) == TABLE.to_json()
    assert TABLE.to_markdown() == (
        "**xnli: accuracy**\n\n"
        "| language | with | n | ok | note |\n"
        "| --- | ---: | ---: | --- | --- |\n"
        "| sw | 71.2 | 5,010 | yes | a\\|b |\n"
        "| 中文 | – | 600 | no | x y |\n\n"
        "points\n"
    )


@pytest.mark.parametrize("mode", ["plain", "rich"])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_tables_fit_and_lose_nothing(mode: str, width: int) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    rows = [["target-xcopa_stack_hellaswag-0123abcd", "71.2 ± 0.4", "72.0 ± 0.1", "+0.8", "日本語 text"]] * 2
    columns = ["run", ("baseline", "right"), ("with", "right"), ("gain", "right"), "note"]
    screen = make(mode, width=width)
    screen.result(Table("title", columns, rows, "caption"))
    lines = [Text.from_ansi(line).plain for line in shown(screen).splitlines()]
    assert max(map(cell_len, lines)) <= width
    assert mode == "rich" or all(line == line.rstrip() for line in lines)
    flat = "".join("".join(lines).split())
    for cell in ("71.2±0.4", "72.0±0.1", "+0.8", "caption"):
        assert cell in flat


def test_a_table_too_wide_is_a_heading_and_a_paragraph_for_each_row() -> None:
    screen = make(width=24)
    columns = ["", "stage", ("steps", "right"), "state", ("tokens", "right")]
    screen.result(Table("", columns, [[1, "target xnli", 376, "", 41_000_000], [2, "two\nlines", None, "to do", 0]]))
    assert shown(screen).splitlines() == [
        "1",
        "  stage: target xnli;",
        "  steps: 376;",
        "  tokens: 41,000,000",
        "2",
        "  stage: two lines;",
        "  steps: –;",
        "  state: to do;",
        "  tokens: 0",
    ]


def test_sentences_break_between_words_on_a_terminal_alone() -> None:
    said_text = "One sentence that is wider than the terminal.\n\n  adaptxfer transfer --to xnli --from somewhere"
    narrow = make(terminal=True, width=20)
    narrow.result(None, said_text)
    narrow.note("another sentence, on the way")
    assert shown(narrow).splitlines() == [
        *("One sentence that is", "wider than the", "terminal.", ""),
        "  adaptxfer transfer --to xnli --from somewhere",
    ]
    assert said(narrow).splitlines() == ["another sentence, on", "the way"]
    piped = make(width=20)
    piped.result(None, said_text)
    assert shown(piped) == said_text + "\n"


def test_signs_of_different_verdicts_stay_different_in_ascii() -> None:
    screen = make("plain", "ascii")
    screen.result(None, "- contradicted, · descriptive")
    assert shown(screen) == "- contradicted, . descriptive\n"


def test_empty_table() -> None:
    screen = make()
    screen.result(Table("", ["a", "b"], []))
    assert shown(screen).split()[:2] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("mode", ["plain", "rich", "json"])
def test_any_encoding(mode: str, encoding: str) -> None:
    screen = make(mode, encoding, terminal=mode == "rich")
    screen.note("a → b … Ελλάδα")
    with screen.progress(3, "prüfen") as bar:
        bar.update(3, loss=1.0)
    screen.result(Table("中", ["x"], [["1 ± 2"], ["ไทย"]]))
    if encoding == "ascii" and mode != "json":
        assert "1 +- 2" in shown(screen)
        assert "a -> b ... ??????" in said(screen)
    if mode == "json":
        assert json.loads(shown(screen))["rows"][0]["x"] == "1 ± 2"


def test_plain_progress_is_about_twenty_lines() -> None:
    for total in (1, 7, 20, 1000, 100_000):
        screen = make()
        with screen.progress(total, "train") as bar:
            for _ in range(total):
                bar.update(loss=0.5, tokens_per_s=9120.4)
        lines = said(screen).splitlines()
        assert len(lines) == min(total, LINES)
        assert lines[-1] == f"train  100%  {total:,}/{total:,}  loss 0.5  9,120 tokens/s"


def test_plain_progress_tells_the_time_left_without_what_was_done_before() -> None:
    lines, now = [], [0.0]
    bars = PlainBars(lines.append, lambda: now[0])
    bar = bars.add(100, "train", completed=50)
    now[0] = 10.0
    bar.update(10)
    assert lines == ["train   60%  60/100  40 s left"]
    bar.resume(80)
    now[0] = 20.0
    bar.update(10)
    assert lines[1] == "train   90%  90/100  10 s left"
    assert bars.close()


def test_a_bar_in_a_bar_is_silent_in_plain_text() -> None:
    screen = make()
    with screen.progress(1, "outer") as outer:
        with screen.progress(10, "inner") as inner:
            inner.update(10)
            inner.resume(3)
        outer.update()
    assert [line.split()[0] for line in said(screen).splitlines()] == ["outer"]


def test_rich_progress_shows_loss_speed_and_notes() -> None:
    screen = make("rich", terminal=True, width=100)
    with screen.progress(10, "train [x]") as bar:
        bar.resume(2)
        bar.update(3, loss=0.25, tokens_per_s=1000.0)
        screen.note("a note")
        with screen.progress(2, "dev") as inner:
            inner.update(2)
        bar.update(5)
    text = said(screen)
    assert "train [x]" in text and "10/10" in text and "loss 0.25" in text and "1,000 tokens/s" in text
    assert "a note" in text
    with screen.progress(1, "again") as bar:  # a later bar starts anew
        bar.update()
    assert "again" in said(screen)


def test_waiting_shows_on_a_quiet_terminal_alone() -> None:
    screen = make("rich", terminal=True, width=100)
    with screen.waiting("Loading [mini]"), screen.waiting("not this one"):
        screen.note("a note")
    text = said(screen)
    assert "Loading [mini]" in text and "a note" in text and "not this one" not in text
    with screen.progress(2, "dev") as bar, screen.waiting("nor this one"):
        bar.update(2)
    with pytest.raises(KeyboardInterrupt), screen.waiting("again"):
        raise KeyboardInterrupt
    assert "nor this one" not in said(screen) and "again" in said(screen)
    for mode in ("plain", "json"):
        quiet = make(mode)
        with quiet.waiting("Loading"):
            pass
        assert shown(quiet) == said(quiet) == ""


def test_parts_of_a_bar_come_and_go() -> None:
    screen = make("rich", terminal=True, width=100)
    with screen.progress(3, "grid") as bar:
        bar.show_parts({"target xnli [1]": (30, 120), "evaluate udpos": (0, 0)})
        bar.show_parts({"target xnli [1]": (60, 120)})
        shown_last = said(screen)
        bar.show_parts({})
    assert "target xnli [1]" in shown_last and "30/120" in shown_last and "evaluate udpos" in shown_last
    plain = make()
    with plain.progress(3, "grid") as bar:
        bar.show_parts({"target": (1, 2)})
    assert said(plain) == ""


def test_events_are_lines_and_the_document_is_the_last() -> None:
    screen = make("json")
    screen.event("planned", stages=2)
    screen.event("finished", stage="a\nb", seconds=float("nan"))
    screen.result({"counts": {"finished": 2}})
    lines = [json.loads(line) for line in shown(screen).splitlines()]
    assert lines[0] == {"event": "planned", "stages": 2} and lines[1]["seconds"] is None
    assert lines[2] == {"event": "end", "counts": {"finished": 2}}
    broken = make("json")
    broken.event("planned")
    broken.error(use_error("No.", "Yes."))
    assert json.loads(shown(broken).splitlines()[-1])["event"] == "error"
    for mode in ("plain", "rich"):
        quiet = make(mode)
        quiet.event("planned")
        assert shown(quiet) == said(quiet) == ""


def test_progress_ends_with_an_exception_and_needs_no_steps() -> None:
    for mode in ("plain", "rich"):
        screen = make(mode, terminal=mode == "rich")
        with pytest.raises(KeyboardInterrupt), screen.progress(10, "work"):
            raise KeyboardInterrupt
        with screen.progress(0, "nothing") as bar:
            bar.update(0)
        screen.note("after")
        assert "after" in said(screen)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.6, "1 min"), (754, "13 min"), (11_100, "3 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_width_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console("plain", Stream(), Stream())
    monkeypatch.setenv("COLUMNS", "61")
    assert screen.width(screen.out) == 61
    monkeypatch.setenv("COLUMNS", "many")
    assert screen.width(screen.out) == 80
    monkeypatch.delenv("COLUMNS")
    assert screen.width(screen.out) == 200


def test_closed_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    screen = Console()
    screen.note("x")
    screen.result(TABLE)


def test_the_console_of_the_process() -> None:
    before = console()
    mine = make()
    try:
        assert set_console(mine) is mine
        assert console() is mine
    finally:
        set_console(before)


def test_importing_it_loads_no_drawing_library() -> None:
    code = "import sys, adaptxfer.console; sys.exit('rich' in sys.modules)"
    root = Path(__file__).resolve().parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_a_reader_that_goes_away_stops_nothing() -> None:
    code = (
        "import sys, time; from adaptxfer.console import Console; screen = Console();"
        "sys.stdin.read(); screen.note('x' * 9999); screen.result(None, 'y' * 9999); sys.exit(7)"
    )
    root = Path(__file__).resolve().parent.parent
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdin=pipe, stdout=pipe, stderr=pipe)
    for end in (child.stdout, child.stderr, child.stdin):
        assert end is not None
        end.close()
    assert child.wait(60) == 7
