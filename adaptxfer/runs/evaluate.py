"""Carrying out an evaluating stage: predictions language by language, then scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaptxfer import ranks
from adaptxfer.console import console
from adaptxfer.encoder.load import Encoder, body_parameters, load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.evaluate import LanguageResult, Setting, evaluate_languages, scores_document
from adaptxfer.evaluation.score import score_records
from adaptxfer.kernels.dispatch import check_machine, using
from adaptxfer.modules.bundle import check_base, load_bundle
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.merge import Merger
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.modules.recipe import Recipe
from adaptxfer.runs.memory import peak_memory
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import OpenRun, Run
from adaptxfer.runs.stage import EvaluateStage
from adaptxfer.runs.store import RunStore

BATCH_TOKENS = 16384


def run_evaluation(stage: EvaluateStage) -> Run:
    """Score a stage, continue it, or return its run if it is finished.

    Raises:
        AdaptxferError: for data or bundles that cannot be used.
    """
    store = RunStore(stage.ask.runs)
    with ranks.together():
        if not stage.ask.fresh and ranks.first(lambda: store.is_finished(stage.kind, stage.name, stage.hash)):
            return Run(store.root / stage.folder)
        check_machine(stage.ask.kernels)
        with store.open(stage.kind, stage.name, stage.hash, fresh=stage.ask.fresh) as run, using(stage.ask.kernels):
            if run.status != "finished":
                _evaluate(stage, run)
        ranks.wait()  # until all is written
    return Run(run.path)


def _evaluate(stage: EvaluateStage, run: OpenRun) -> None:
    encoder = load_encoder(stage.ask.model, stage.ask.revision, stage.ask.base_precision)
    size = body_parameters(encoder.network)  # before modules are added
    with quiet_libraries():
        model = _model(stage, encoder)
    before = run.manifest  # of an interrupted evaluation, else empty
    fingerprints, splits = dict(before.get("data", {})), dict(before.get("splits", {}))
    run.start(
        _request(stage), seed=stage.seed, base_model=encoder.base.to_dict(), data=fingerprints,
        parents=[bundle.folder.name for bundle in stage.bundles],
    )  # fmt: skip
    run.update(splits=splits, n_params=size, **stage.ask.confounds)
    setting = Setting(encoder.tokenizer, stage.ask.data_dir, BATCH_TOKENS, stage.max_length, stage.limit, stage.layers)
    results = ranks.first(lambda: _reused(stage, run, splits))
    rest = [code for code in stage.languages if code not in {result.language for result in results}]
    with console().progress(len(stage.languages), f"{stage.name} by language", len(results)) as bar:
        for result in evaluate_languages(model, stage.head or "", stage.task, rest, setting, stage.split):
            bar.update(1)
            if isinstance(result, str):
                console().note(result)
                continue
            run.write_predictions(result.language, result.records)
            fingerprints[f"{stage.task.name}/{result.split}/{result.language}"] = result.fingerprint
            splits[result.language] = result.split
            run.update(data=fingerprints, splits=splits)
            results.append(result)
    order = {code: place for place, code in enumerate(stage.languages)}
    results.sort(key=lambda result: order[result.language])
    document = scores_document(stage.task, results)
    if bare := ", ".join(document.get("unscored", ())):
        console().note(f"{stage.name} has no labels in {bare} here: predictions are written, there is no score.")
    run.write_scores(document)
    run.finish({"training": peak_memory()})


def _model(stage: EvaluateStage, encoder: Encoder) -> AdaptedModel:
    """The model of a bundle; for retrieval also the bare encoder or an average of modules."""
    for bundle in stage.bundles:
        check_base(bundle, encoder.base)
    if len(stage.bundles) == 1:
        return load_bundle(stage.bundles[0], encoder).to(_device())
    if not stage.bundles:
        return AdaptedModel(make_method("full", encoder.network), {}).to(_device()).eval()
    method = make_method(stage.ask.method, encoder.network)
    Merger(method, "merged", [bundle.module_folder(bundle.single()) for bundle in stage.bundles]).fill(Recipe())
    method.activate(Leaf("merged"))
    return AdaptedModel(method, {}).to(_device()).eval()


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _request(stage: EvaluateStage) -> dict[str, dict[str, Any]]:
    asked = {"task": stage.task.name, "how": stage.how, "intermediates": list(stage.intermediates),
             "languages": list(stage.languages), "split": stage.split, "layers": list(stage.layers),
             "limit": stage.limit, "max_length": stage.max_length}  # fmt: skip
    return stage.ask.to_request() | {name: {"value": value, "from": "command"} for name, value in asked.items()}


def _reused(stage: EvaluateStage, run: OpenRun, splits: Mapping[str, str]) -> list[LanguageResult]:
    """Languages that an interrupted evaluation has done: scored again from their records, not predicted again."""
    if len(stage.layers) > 1 or stage.task.metric.main in ("bucc", "map20"):
        return []  # a sweep, a threshold and a pool of all languages are not in the records of one
    done = []
    for language, split in splits.items():
        try:
            records = run.read_predictions(language)
            scores = (
                score_records(stage.task, language, records)
                if any(r["gold"] not in (None, []) for r in records)
                else {}
            )
        except AdaptxferError:  # damaged: predict this language again
            continue
        done.append(LanguageResult(language, split, scores, records, ""))
    return done
