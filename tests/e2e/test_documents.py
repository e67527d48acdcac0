"""Every command in the README and in docs/ is carried out, cut short, page by page, in the order it stands there."""

from __future__ import annotations

import json
import re
import shlex
import time
from functools import partial
from itertools import takewhile
from pathlib import Path

import pytest

import adaptxfer as ax
from adaptxfer.cli import main
from adaptxfer.runs.store import RunStore
from tests.hub.server import TOKEN, Hub

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
FILES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = {str(path.relative_to(ROOT)): path for path in FILES}
DATA = (
    "intermediate/copa_en", "intermediate/hellaswag", "intermediate/hellaswag_multilingual", "intermediate/mnli",
    "intermediate/squad_v1.1", "target/pawsx", "target/tatoeba", "target/xcopa", "target/xnli",
)  # fmt: skip

TRAINS = "--max-steps 2 --evaluations 1 --limit 24 --dev-limit 12 --max-length 48 --batch-size 4 --on-chance warn"
SHORTER = {
    "train-intermediate": f"--model mini {TRAINS}",
    "transfer": f"--model mini {TRAINS} --eval-limit 4",
    "evaluate": "--eval-limit 4",
    "grid": "--dry-run",
    "gain": "--resamples 100",
    "report": "--resamples 100",
    "power": "--repetitions 20",
    "select": "--model mini --limit 20",
    "study": "--repetitions 20",
    "merge": "--model mini",
    "export": "--partial",
    "tasks": "",
}
"""What is added to a command so that it takes a second."""

FLAGS = ("--dry-run", "--partial")
NEEDS_DATA = ("train-intermediate", "transfer", "evaluate", "select", "export")
KINDS = {"runs compare": "evaluate", "export xtreme": "evaluate", "runs track": "intermediate"}
"""Runs that RUN stands for; otherwise intermediate ones."""


def commands(text: str) -> list[str]:
    """Lines that call the program: in indented blocks of the README, in ``sh`` blocks elsewhere."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line[4:] for line in text.splitlines() if line.startswith("    adaptxfer ")] if not blocks else []
    return [re.sub(r"\s+#.*", "", line) for line in lines if line.startswith("adaptxfer ")]


@pytest.fixture
def place(tmp_path, data_dir, monkeypatch, mini_dir):
    """A folder with the words of the pages in it: DATA, reviews, a text file, the plans; and a Hub."""
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTXFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("ADAPTXFER_RUNS", "ADAPTXFER_TASKS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "PLAN.toml").symlink_to(ROOT / "benchmarks" / "plans" / "small.toml")
    for name in DATA:
        link = tmp_path / "DATA" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(data_dir / name)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    (tmp_path / "sw.txt").write_text("Habari ya asubuhi.\nKaribu sana nyumbani kwetu leo.\n" * 20, encoding="utf-8")
    (tmp_path / "reviews").mkdir()
    for split, language in (("train", "en"), ("dev", "en"), ("test", "en"), ("test", "de")):
        lines = [json.dumps({"text": f"Room {n} was {w}.", "stars": s}) for n in range(8)
                 for w, s in (("clean", "good"), ("dirty", "bad"))]  # fmt: skip
        (tmp_path / "reviews" / f"{split}.{language}.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with Hub() as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name, value in {"ENDPOINT": hub.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
                            "HF_HUB_CACHE": str(tmp_path / "hub")}.items():  # fmt: skip
            monkeypatch.setattr(constants, name, value)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        yield tmp_path


def shortened(command: str) -> list[str]:
    """The words of a command with RUN replaced, data found, and little to do."""
    words = shlex.split(command)[1:]
    name = " ".join(words[:2]) if words[0] in ("runs", "export") else words[0]
    runs = [run.name for run in RunStore(Path("runs")).find_finished(KINDS.get(name, "intermediate"))]
    if name == "export xtreme":
        runs = [run for run in runs if "tatoeba" in run]
    if name == "runs compare":  # two settings of one task
        runs = settings_of_one_task()
    for place, word in enumerate(words):
        words[place] = runs.pop(0) if word in ("RUN", "RUN...") else "1,2" if word == "1,2,3" else word
    if "--evaluate" in words:  # reads a table alone
        return words
    extra = shlex.split(SHORTER.get(words[0], ""))
    given = {word for word in words if word.startswith("--")}
    for place, word in enumerate(extra):
        if word.startswith("--") and word not in given:
            words += extra[place : place + (1 if word in FLAGS else 2)]
    if words[0] in NEEDS_DATA and "--data-dir" not in words:
        words += ["--data-dir", "DATA"]
    return words


def settings_of_one_task() -> list[str]:
    found = RunStore(Path("runs")).find_finished("evaluate")
    by_task: dict[str, dict[str, str]] = {}
    for run in found:
        by_task.setdefault(run.manifest["name"], {}).setdefault(run.asked("how"), run.name)
    return next(list(names.values())[:2] for names in by_task.values() if len(names) > 1)


def before(page: str) -> list[str]:
    """What a page takes for granted."""
    trained = [f"adaptxfer train-intermediate {task} --data-dir DATA" for task in ("mnli", "hellaswag")]
    scored = [f"adaptxfer transfer --to xcopa --how {how} --data-dir DATA" for how in ("none", "stack")]
    return {
        "docs/add-a-task.md": trained[:1],
        "docs/choose.md": trained + scored,
        "docs/cluster.md": trained[:1] + scored,
        "docs/statistics.md": trained[:1] + scored,
    }.get(page, [])


@pytest.mark.parametrize("page", [name for name, path in PAGES.items() if commands(path.read_text(encoding="utf-8"))])
def test_every_command_of(page: str, place: Path, capsys) -> None:
    for command in before(page) + commands(PAGES[page].read_text(encoding="utf-8")):
        words = shortened(command)
        code = main(words)
        said = capsys.readouterr()
        assert code == 0, f"{command}\nas {shlex.join(words)}\n{said.err[-2000:]}"
        assert said.out.strip(), command
    assert "Traceback" not in said.err


def test_the_python_of_the_readme(place: Path, monkeypatch, capsys) -> None:
    text = PAGES["README.md"].read_text(encoding="utf-8")
    after = text.split("In Python:\n\n")[1].splitlines()
    lines = [line[4:] for line in takewhile(lambda line: not line.strip() or line.startswith("    "), after)]
    names = [word[2:].replace("-", "_") for word in TRAINS.split()[::2]]
    values = [int(value) if value.isdecimal() else value for value in TRAINS.split()[1::2]]
    short = dict(zip(names, values, strict=True))
    monkeypatch.setattr(ax, "train_intermediate", partial(ax.train_intermediate, **short))
    monkeypatch.setattr(ax, "transfer", partial(ax.transfer, eval_limit=4, **short))
    exec(compile("\n".join(lines), "README.md", "exec"), {})
    assert "xcopa" in capsys.readouterr().out


def test_links_between_pages_lead_somewhere() -> None:
    for path in PAGES.values():
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name}: {target}"
