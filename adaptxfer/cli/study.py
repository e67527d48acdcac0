"""``adaptxfer study``: five research questions, answered from records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.ask import takes
from adaptxfer.cli.options import RUNS, DataDir, Json, Offline, Runs, Tasks, folders
from adaptxfer.console import Table, console
from adaptxfer.errors import AdaptxferError, use_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adaptxfer.studies.languages import LanguageFeatures
    from adaptxfer.studies.report import Report
    from adaptxfer.studies.table import RecordTable

app = typer.Typer(help="Answer a research question from records: claims with verdicts.", no_args_is_help=True)

Records = Annotated[
    list[Path] | None, typer.Argument(metavar="[RECORDS...]", help="Folders of runs or CSV tables; else --runs.")
]
Model = Annotated[str | None, typer.Option("--model", help="Only runs of this base model.")]
Method = Annotated[str | None, typer.Option("--method", help="Only bottleneck, lora or full.")]
How = Annotated[
    str | None, typer.Option("--how", help="The composition that counts where there are several (default: most runs).")
]
ReportTo = Annotated[
    Path | None, typer.Option("--report", help="Folder for report.md, report.json, table.csv and the plots.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show missing runs, units and expected power instead of an answer.")
]
DesignFile = Annotated[
    Path | None, typer.Option("--design", help="With --dry-run: a grid's plan file to compare with.")
]
SavePlan = Annotated[Path | None, typer.Option("--save-plan", help="With --dry-run: write a plan of the missing runs.")]
Repetitions = Annotated[int, typer.Option(help="With --dry-run: simulated studies; 0 for none.", min=0)]
Resamples = Annotated[int, typer.Option(help="Bootstrap draws.", min=100)]
Permutations = Annotated[int, typer.Option(help="Drawn orders of the intermediates.", min=100)]
Always = Annotated[str, typer.Option(help="The intermediate that a lazy choice takes.")]

SHARED: dict[str, tuple[Any, Any]] = {
    "records": (Records, None), "runs": (Runs, RUNS), "method": (Method, None), "how": (How, None),
    "report": (ReportTo, None), "dry_run": (DryRun, False), "design": (DesignFile, None), "save_plan": (SavePlan, None),
    "repetitions": (Repetitions, 100), "json": (Json, False),
}  # fmt: skip
ONE_MODEL: dict[str, tuple[Any, Any]] = {"model": (Model, None)}
"""Options of every study, and of those that look at one base model."""


class Asked:
    """What all studies share: where the records are and which of them count, where the report goes, a dry run."""

    def __init__(
        self, study: str, runs: Path, dry_run: bool, repetitions: int, records: list[Path] | None = None,
        model: str | None = None, method: str | None = None, how: str | None = None, report: Path | None = None,
        design: Path | None = None, save_plan: Path | None = None,
    ) -> None:  # fmt: skip
        self.study, self.sources, self.report = study, records or [runs], report
        self.model, self.method, self.how = model, method, how
        self.dry_run, self.design, self.save_plan, self.repetitions = dry_run, design, save_plan, repetitions

    def table(self, several_models: bool = False) -> RecordTable:
        """The records of one base model, method and composition; rows that are no scores on targets stay."""
        from adaptxfer.studies.collect import read_table
        from adaptxfer.studies.pairs import one_kind
        from adaptxfer.studies.table import join_tables

        table = join_tables([read_table(source) for source in self.sources])
        if self.study != "metric":  # the others look at finished modules alone
            table = table.where(lambda row: not row.intermediate_checkpoint)
        return one_kind(table, self.model, self.method, self.how, several_models)

    def answer(self, report: Report) -> None:
        """Print a report, and write it down where it was asked for."""
        from adaptxfer.studies.report import write_report

        for note in report.said():
            console().note(note)
        for path in write_report(report, self.report) if self.report else ():
            console().note(f"Written: {path}")
        banner = report.table.banner()
        console().result(report.document(), *filter(None, (banner, report.view(), *report.views)))

    def needs(
        self, new: Callable[[RecordTable], Sequence[str]] | None = None, low: Callable[[RecordTable], int] | None = None
    ) -> None:
        """Print what the study lacks."""
        from adaptxfer.files import write_text
        from adaptxfer.runs.gridfile import read_grid
        from adaptxfer.studies import needs

        try:
            table = self.table(several_models=True)
        except AdaptxferError:
            if self.design is None:
                raise
            table = None
        made = needs.design_from(read_grid(self.design)) if self.design else needs.design_of(table)  # type: ignore[arg-type]
        if self.design and table:
            made = needs.replace(made, languages=needs.design_of(table).languages)
        lacking = needs.missing_runs(made, table)
        counted = needs.units(
            self.study, made, table, new(table) if new and table else (), low(table) if low and table else 0
        )
        found = needs.expected_power(self.study, made, self.repetitions, checkpoints=_has_checkpoints(table))
        folder = next((source for source in self.sources if source.is_dir()), None)
        if save := self.save_plan:
            write_text(save, needs.plan_text(made, folder))
            console().note(f"Written: {save}. `adaptxfer grid {save}` does what is missing and reuses the rest.")
        views: list[Table | str] = [needs.coverage(made, table), counted]
        views += [needs.power_table(found)] if found else []
        views.append(_told(len(lacking), save or self.design))
        document = {"schema": 1, "study": self.study, "design": vars(made), "missing": lacking,
                    "units": counted.to_json(), "power": [vars(item) for item in found]}  # fmt: skip
        console().result(document, *views)


def _has_checkpoints(table: RecordTable | None) -> bool:
    return table is not None and any(row.intermediate_checkpoint for row in table.rows)


def _told(lacking: int, plan: Path | None) -> str:
    if not lacking:
        return "No run of the design is missing."
    how = f"adaptxfer grid {plan}" if plan else "--save-plan PLAN.toml, then adaptxfer grid PLAN.toml"
    return f"{lacking:,} {'run' if lacking == 1 else 'runs'} of the design missing: {how}."


@app.command("metric")
@takes(SHARED, ONE_MODEL)
def study_metric(
    metrics: Annotated[str, typer.Option(help="Scores of intermediates, with commas; default: all there are.")] = "",
    outcomes: Annotated[str, typer.Option(help="gain, zero-shot, english, gap; default: all there are.")] = "",
    permutations: Permutations = 10_000,
    *,
    options: dict[str, Any],
) -> None:
    """Which score of an intermediate module tells what it will bring?

    Main score, accuracy, macro F1, MCC, likelihood, calibration and contrasts of entailment on the intermediate's own
    English dev data, against gain, zero-shot score, English score and gap; within checkpoints first.
    """
    asked = Asked("metric", **options)
    if asked.dry_run:
        return asked.needs()
    from adaptxfer.studies.metric import check_names, metric_study

    table = asked.table()
    check_names(_split(metrics), _split(outcomes), table)
    return asked.answer(metric_study(table, _split(metrics), _split(outcomes), permutations))


@app.command("scale")
@takes(SHARED)
def study_scale(
    hard: Annotated[str, typer.Option(help="The harder intermediate task.")],
    easy: Annotated[str, typer.Option(help="The easier one.")],
    family: Annotated[
        list[str] | None, typer.Option(help="Start of the names of one family of base models; repeat.")
    ] = None,
    *,
    options: dict[str, Any],
) -> None:
    """Does the gain of a harder intermediate task over an easier one grow with the encoder?

    The table needs n_params, the parameters outside the embeddings; evaluations record it.
    """
    asked = Asked("scale", **options)
    if asked.dry_run:
        return asked.needs()
    from adaptxfer.studies.scale import scale_study

    def family_of(backbone: str) -> str:
        return next((start for start in family or () if backbone.startswith(start)), "")

    return asked.answer(scale_study(asked.table(several_models=True), hard, easy, family_of))


@app.command("domain")
@takes(SHARED, ONE_MODEL)
def study_domain(
    to: Annotated[str, typer.Option("--to", help="Target task.")],
    axes: Annotated[
        str,
        typer.Option(
            help="question-type, answer-type, length, answer-length, position, overlap; domain (FLORES-200); "
            "or NAME:FILE (item_id or title, and slice). Several are also looked at together."
        ),
    ] = "",
    shifted: Annotated[str | None, typer.Option(help="A slice that the records name.")] = None,
    reference: Annotated[str | None, typer.Option(help="The slice it stands against.")] = None,
    chain: Annotated[str, typer.Option(help="Target tasks, each compared with the one before: xquad,mlqa.")] = "",
    margin: Annotated[float, typer.Option(help="Largest difference that does not matter, in points.", min=0.0)] = 1.0,
    resamples: Resamples = 10_000,
    *,
    options: dict[str, Any],
) -> None:
    """Does the gain survive a shift of topic, question, answer, length or data set?

    Labels come from the English question, answer and context and are joined by id, so they are the same in every
    language. Each slice stands against all other items.
    """
    asked = Asked("domain", **options)
    if asked.dry_run:
        return asked.needs()
    if (shifted is None) != (reference is None):
        raise use_error("A shifted slice needs a reference.", "Give both --shifted and --reference.")
    from adaptxfer.studies.domain import domain_study
    from adaptxfer.studies.items import load_items

    slices = (shifted, reference) if shifted and reference else None
    table = asked.table()
    found = domain_study(table, to, slices, load_items, margin, resamples, _split(axes), _split(chain))
    return asked.answer(found)


@app.command("generalise")
@takes(SHARED, ONE_MODEL)
def study_generalise(
    known: Annotated[str, typer.Option("--from", help="Suites or tasks that count as the benchmark.")] = "xtreme",
    new: Annotated[str, typer.Option("--to", help="Suites or tasks to generalise to.")] = "xtreme-r,flores200",
    always: Always = "mnli",
    permutations: Permutations = 10_000,
    resamples: Resamples = 1000,
    tasks: Tasks = None,
    *,
    options: dict[str, Any],
) -> None:
    """Do gains, rankings and choices made on one benchmark hold on tasks outside it?"""
    from adaptxfer.studies.generalise import generalise_study, split_tasks

    asked = Asked("generalise", **options)

    def sides(table: RecordTable) -> tuple[list[str], list[str]]:
        return split_tasks(table, _split(known), _split(new), folders(tasks))

    if asked.dry_run:
        return asked.needs(new=lambda table: sides(table)[1])
    table = asked.table()
    found = generalise_study(table, *sides(table), always=always, permutations=permutations, resamples=resamples)
    return asked.answer(found)


@app.command("diversity")
@takes(SHARED, ONE_MODEL)
def study_diversity(
    features: Annotated[
        list[Path] | None,
        typer.Option(help="CSV or TSV: language, [intermediate], [family], features; # lines are notices. Repeat."),
    ] = None,
    measure: Annotated[
        str, typer.Option(help="Features to compute: overlap, fertility (these read the data), alignment.")
    ] = "",
    low_resource: Annotated[
        str | None, typer.Option(help="Codes with commas, or FEATURE:bottom-third; default: all but English.")
    ] = None,
    cv: Annotated[str, typer.Option(help="lolo (languages left out), loto (target tasks), or both.")] = "lolo,loto",
    placebo: Annotated[int, typer.Option(help="Shuffles of the features among languages.", min=0)] = 200,
    always: Always = "mnli",
    data_dir: DataDir = None,
    tasks: Tasks = None,
    offline: Offline = False,
    *,
    options: dict[str, Any],
) -> None:
    """Does looking at the target language help to choose an English intermediate task?

    Linguistic features do not come with the package: give tables such as URIEL's distances with --features, and their
    licence notice travels into the report.
    """
    from adaptxfer.studies.diversity import diversity_study
    from adaptxfer.studies.languages import LanguageFeatures, read_features, resource_bins
    from adaptxfer.studies.languages import low_resource as chosen

    asked, ways = Asked("diversity", **options), _ways(cv)
    known: LanguageFeatures = sum(map(read_features, features or ()), LanguageFeatures())

    def low(languages: Sequence[str]) -> Sequence[str]:
        return chosen(low_resource, languages, known)  # with what was measured, once it was

    if asked.dry_run:
        return asked.needs(low=lambda table: len(low(_languages(table))))
    table = asked.table()
    found, left = _measured(table, _split(measure), data_dir, folders(tasks))
    known += found
    if not known.names and not known.pair_names:
        raise use_error(
            "There are no features of languages: none come with the package.",
            "Give --features FILE with a column language and one column of numbers for each feature, or --measure.",
        )
    table = table.where(lambda row: row.target_task not in left)
    if left:
        told = f"{', '.join(sorted(left))}: alignment is made of it, so nothing is chosen for it."
        table = replace(table, notes=(*table.notes, told))

    def bins(languages: Sequence[str]) -> Mapping[str, str]:
        return resource_bins(low_resource, languages, known)

    return asked.answer(diversity_study(table, known, low, ways, placebo, always, bins=bins))


def _ways(cv: str) -> list[str]:
    from adaptxfer.errors import nearest
    from adaptxfer.studies.diversity import CV

    ways = _split(cv)
    if unknown := [way for way in ways if way not in CV]:
        raise use_error(f"There is no --cv {unknown[0]!r}.", nearest(unknown[0], CV))
    return ways


def _measured(
    table: RecordTable, wanted: list[str], data_dir: Path | None, where: list[Path]
) -> tuple[LanguageFeatures, set[str]]:
    """Computed features, and the target tasks that are no longer chosen for because a feature is made of them."""
    from adaptxfer.errors import nearest
    from adaptxfer.studies.languages import LanguageFeatures
    from adaptxfer.studies.table import only_value

    known = ("overlap", "fertility", "alignment")
    if unknown := [name for name in wanted if name not in known]:
        raise use_error(f"There is no feature {unknown[0]!r} to compute.", nearest(unknown[0], known))
    found, left = LanguageFeatures(), set()
    if not wanted:
        return found, left
    from adaptxfer.studies.measure import alignment_features, retrieval_targets, text_features
    from adaptxfer.studies.pairs import APART

    if "alignment" in wanted:
        left = retrieval_targets(table, where)
        found += alignment_features(table, where)
    if texts := [name for name in wanted if name != "alignment"]:
        scored = table.where(lambda row: row.study not in APART)
        found += text_features(table, only_value(scored, "backbone", "--model"), data_dir, texts, where)
    return found, left


def _languages(table: RecordTable) -> list[str]:
    from adaptxfer.studies.pairs import APART

    return list(dict.fromkeys(row.language for row in table.rows if row.study not in APART))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
