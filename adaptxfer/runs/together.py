"""Several training stages in one process over one frozen encoder; each leaves what it leaves by itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from adaptxfer import ranks
from adaptxfer.console import console
from adaptxfer.encoder.load import Encoder, load_encoder
from adaptxfer.encoder.together import twin
from adaptxfer.errors import AdaptxferError, use_error
from adaptxfer.kernels.dispatch import check_machine, using
from adaptxfer.modules.bundle import Bundle, read_bundle
from adaptxfer.runs.run import CHECKPOINT, OpenRun
from adaptxfer.runs.stage import TrainStage, model_identity
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.train import Ready, finish, prepare, reporter
from adaptxfer.training import TrainingResult
from adaptxfer.training.together import Part, train_together

Outcome = Bundle | AdaptxferError


def check_together(stages: Sequence[TrainStage]) -> None:
    """Refuse stages that cannot share an encoder.

    Raises:
        AdaptxferError: with what stands against it.
    """
    if ranks.size() > 1:
        raise use_error(
            f"{ranks.size()} processes share one run; modules are trained together in one process.",
            "Start the command without torchrun or accelerate launch, or leave out --separately.",
        )
    if any(stage.ask.method == "full" for stage in stages):
        raise use_error(
            "Full fine-tuning changes the encoder itself, so several cannot share one.",
            "Leave out --separately and run them one after the other, or use --method bottleneck or lora.",
        )
    if any(stage.settings["graphs"] == "on" for stage in stages):
        raise use_error("Modules that are trained together take steps of any shape.", "Leave out --graphs on.")
    if len({sharing(stage) for stage in stages}) > 1:
        raise use_error("Only stages of one base model, method and precision can be trained together.")
    if len({stage.hash for stage in stages}) < len(stages):
        raise use_error("One module is asked for twice.", "Name each task and each seed once.")


def sharing(stage: TrainStage) -> tuple[str, ...]:
    """What stages must have in common to be trained together."""
    return (
        str(model_identity(stage.ask)), stage.ask.base_precision, stage.ask.method, stage.settings["precision"],
        str(stage.ask.kernels), str(stage.ask.runs),
    )  # fmt: skip


def run_together(stages: Sequence[TrainStage]) -> list[Outcome]:
    """Train stages, continue them, or return the bundles of those that are finished; one failure stops no other.

    Args:
        stages: of one base model and method, different from one another.

    Returns:
        For each its bundle, or why it failed.

    Raises:
        AdaptxferError: if they cannot be trained together, or on an interruption (code 130).
    """
    check_together(stages)
    store, found = RunStore(stages[0].ask.runs), dict[str, Outcome]()
    with ExitStack() as stack:
        check_machine(stages[0].ask.kernels)
        stack.enter_context(using(stages[0].ask.kernels))
        runs: dict[str, OpenRun] = {}
        for stage in stages:
            try:
                if bundle := _finished(stage, store):
                    found[stage.hash] = bundle
                    continue
                run = stack.enter_context(store.open(stage.kind, stage.name, stage.hash, fresh=stage.ask.fresh))
                runs[stage.hash] = run
            except AdaptxferError as error:
                found[stage.hash] = error
        _train([(stage, runs[stage.hash]) for stage in stages if stage.hash in runs], found)
    return [found[stage.hash] for stage in stages]


def bundles_of(stages: Sequence[TrainStage], outcomes: Sequence[Outcome]) -> list[Bundle]:
    """The bundles, if all stages have one.

    Raises:
        AdaptxferError: naming what failed, with the gravest code.
    """
    failed = [(s, o) for s, o in zip(stages, outcomes, strict=True) if isinstance(o, AdaptxferError)]
    if len(failed) == 1 == len(stages):
        raise failed[0][1]
    if failed:
        told = "".join(f"\n  - {stage.name}, seed {stage.seed}: {error.message}" for stage, error in failed)
        hint = failed[0][1].hint or "The same command tries them again."
        raise AdaptxferError(
            f"{len(failed)} of {len(stages)} modules failed, the others are finished:{told}", hint,
            max(error.code for _, error in failed),
        )  # fmt: skip
    return [outcome for outcome in outcomes if isinstance(outcome, Bundle)]


def _finished(stage: TrainStage, store: RunStore) -> Bundle | None:
    if stage.ask.fresh or not store.is_finished(stage.kind, stage.name, stage.hash):
        return None
    console().note(f"{stage.folder} is finished already.")
    return read_bundle(store.root / stage.folder)


def _train(places: Sequence[tuple[TrainStage, OpenRun]], found: dict[str, Outcome]) -> None:
    """Train what is left; put what becomes of each into ``found``."""
    if not places:
        return
    ask = places[0][0].ask
    ready = _prepared(places, load_encoder(ask.model, ask.revision, ask.base_precision), found)
    if not ready:
        return
    _note_company([one.run for one in ready])

    def ended(number: int, result: TrainingResult | AdaptxferError) -> None:
        one = ready[number]
        try:
            if isinstance(result, AdaptxferError):
                raise result
            found[one.stage.hash] = finish(one, result)
        except AdaptxferError as error:
            one.run.fail(error.message)
            console().warn(f"{one.run.name} failed: {error.message}")
            found[one.stage.hash] = error

    with console().progress(sum(len(one.steps) for one in ready), f"{len(ready)} modules") as bar:
        common = _Common(bar)
        train_together([_part(one, common) for one in ready], ended)


def _prepared(places: Sequence[tuple[TrainStage, OpenRun]], encoder: Encoder, found: dict[str, Outcome]) -> list[Ready]:
    ready = []
    for stage, run in places:
        try:
            ready.append(prepare(stage, run, replace(encoder, network=twin(encoder.network))))
        except AdaptxferError as error:
            console().warn(f"{stage.kind} {stage.name}, seed {stage.seed} failed: {error.message}")
            found[stage.hash] = error
    return ready


def _note_company(runs: Sequence[OpenRun]) -> None:
    """Each manifest names the runs that were trained with it."""
    for run in runs:
        others = [other.name for other in runs if other is not run]
        if others:
            run.update(together={"with": others, "equal_to_alone": "up to rounding, dropout included"})


def _part(ready: Ready, bar: _Common) -> Part:
    report = reporter(ready.run, bar)
    return Part(ready.model, ready.trained, ready.steps, ready.options, ready.run.path / CHECKPOINT, ready.dev,
                report, ready.chance)  # fmt: skip


class _Common:
    """One bar for all runs."""

    def __init__(self, bar: Any) -> None:
        self.update, self._bar, self._before = bar.update, bar, 0

    def resume(self, completed: int) -> None:
        """What one of them did before; all say so before the first step."""
        self._before += completed
        self._bar.resume(self._before)
