"""The model card: what the module is, what it scored, how to make it again, and how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from adaptxfer import __version__
from adaptxfer.hub.facts import Facts, gather, reproduce
from adaptxfer.hub.metadata import metadata_of, to_yaml
from adaptxfer.hub.results import Scored
from adaptxfer.hub.text import block, code, md, table
from adaptxfer.hub.usage import usage_blocks
from adaptxfer.modules.bundle import Bundle
from adaptxfer.modules.composition import draw
from adaptxfer.runs.records import MEAN, ZERO_SHOT
from adaptxfer.tasks.spec import TaskSpec

LIMITS = """\
- It fits this base model only; plain libraries load it into another one of the same width and give noise.
- Nothing was tuned on other languages than those of the training data: scores elsewhere are zero-shot.
- Texts longer than the maximal length were cut, or split into windows where answers are looked for.
- What the base model and the data hold of bias or error, the module holds too."""


def render_card(bundle: Bundle, repo: str, tasks: Sequence[Path] = ()) -> str:
    """The README of a repository, from manifests and scores alone.

    Args:
        bundle: what is pushed.
        repo: where to, ``owner/name``.
        tasks: folders of task files, for licences and data sets.
    """
    facts = gather(bundle, repo, tasks)
    sections = [f"# {md(_title(facts))}", _what(facts), *_results(facts), *_data(facts), *_again(facts)]
    sections += ["## How to use it", *usage_blocks(facts), "## Limits", _limits(facts)]
    sections.append(f"Written by adaptxfer {__version__} from its records.")
    return to_yaml(metadata_of(facts)) + "\n" + "\n\n".join(sections) + "\n"


def _title(facts: Facts) -> str:
    below = ", ".join(facts.intermediates)
    above = f", {facts.how} on {below}" if below else ""
    if facts.recipe:
        above = f", merged by {facts.recipe}"
    return f"{' + '.join(facts.trained_on)}: {facts.bundle.method}{above}"


def _what(facts: Facts) -> str:
    bundle, manifest = facts.bundle, facts.run.manifest
    base = bundle.base
    head = bundle.heads.get(bundle.task)
    rows = [
        ["base model", code(base.id) + (f" at {code(base.revision)}" if base.revision else "")],
        ["fingerprint of its weights", code(base.fingerprint)],
        ["method", md(bundle.method + _options(bundle))],
        ["intermediate tasks", md(", ".join(facts.intermediates) or "none below it")],
        ["head", f"{md(head.kind)} {md(', '.join(head.labels))}" if head else "none"],
        *([["seed", str(manifest["seed"])], ["versions", _versions(facts)]] if manifest else []),
    ]
    return table(["", ""], rows) + "\n\nComposition, top of the network first:\n\n" + block(_composition(bundle))


def _options(bundle: Bundle) -> str:
    given = [f"{key} {value}" for key, value in bundle.options.items() if value is not None]
    return f" ({', '.join(given)})" if given else ""


def _composition(bundle: Bundle) -> str:
    return draw(bundle.tree).replace("  (frozen)", "")


def _versions(facts: Facts) -> str:
    return md(", ".join(f"{name} {version}" for name, version in facts.run.manifest["versions"].items()))


def _results(facts: Facts) -> Iterator[str]:
    yield "## Results"
    if not facts.scores:
        yield "No scores in other languages are recorded for it."
    for item in facts.scores:
        yield _score_table(item)
    if dev := _dev(facts):
        yield dev


def _score_table(item: Scored) -> str:
    record = item.record
    repeated = len(item.seeds) > 1
    rows = []
    own = record.points()
    for row, points in item.summary.items():
        n, split = record.examples(row) if row in record.languages else ("", "")
        cells = [md(row), f"{own[row]:.1f}", *([md(points)] if repeated else []), str(n), md(split)]
        rows.append(cells)
    columns = ["language", md(record.metric), *(["mean ± deviation"] if repeated else []), "examples", "split"]
    seeds = ", ".join(map(str, item.seeds))
    said = [f"**{md(record.task)}**, in points (0-100), this module with seed {record.seed}."]
    if repeated:
        said.append(f"Mean and standard deviation are over seeds {seeds}.")
    if item.limited:
        said.append("Only the first examples of each language were scored.")
    if (gap := item.gap()) is not None:
        said.append(f"Zero-shot gap (English minus the mean of the others): {gap:.1f}.")
    if MEAN not in own and ZERO_SHOT not in own:
        said.append("Not all languages of the task were scored, so there is no mean.")
    return " ".join(said) + "\n\n" + table(columns, rows)


def _dev(facts: Facts) -> str:
    dev = facts.run.manifest.get("dev") or {}
    rows = [
        [md(task), md(scores["main"]), f"{scores[scores['main']]:.1f}"]
        for task, scores in dev.items()
        if isinstance(scores, dict) and isinstance(scores.get(scores.get("main")), int | float)
    ]
    title = "On the dev data of its own training:\n\n"
    return title + table(["task", "metric", "points"], rows) if rows else ""


def _data(facts: Facts) -> Iterator[str]:
    yield "## Data"
    rows = [[md(task.name), md(task.licence or "not stated"), _sources(task), md(task.about)] for task in facts.tasks]
    if rows:
        yield "Training data:\n\n" + table(["task", "licence", "data set", "about"], rows)
    if others := [task for task in facts.targets if task not in facts.tasks]:
        rows = [[md(task.name), md(task.licence or "not stated"), _sources(task)] for task in others]
        yield "Evaluation data:\n\n" + table(["task", "licence", "data set"], rows)
    known = {task.name for task in facts.tasks}
    if unknown := [name for name in facts.trained_on if name not in known]:
        yield f"The task file of {md(', '.join(unknown))} was not at hand when this card was written."
    if prints := facts.run.manifest.get("data"):
        rows = [[md(name), code(value)] for name, value in prints.items()]
        yield "Fingerprints of what was read:\n\n" + table(["data", "sha-256"], rows)


def _sources(task: TaskSpec) -> str:
    sources = dict.fromkeys(
        code(source.id) + (f" at {code(source.revision)}" if source.revision else "") for source in task.hub
    )
    return ", ".join(sources) or "files"


def _again(facts: Facts) -> Iterator[str]:
    if words := reproduce(facts):
        yield "## How it was made"
        yield block(words, "sh")


def _limits(facts: Facts) -> str:
    lines = [LIMITS]
    if not facts.base_is_on_hub:
        lines.append(f"- Its base model, {code(facts.bundle.base.id)}, was no model of the Hub.")
    if facts.library == "transformers":
        lines.append("- The tokenizer is that of the base model and is not repeated here.")
    return "\n".join(lines)
