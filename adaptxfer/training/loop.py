"""The training loop: batches in, gradients, one optimiser step, dev scores, checkpoints."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from adaptxfer import ranks
from adaptxfer.data.batches import PackedBatch
from adaptxfer.encoder.held import recompute
from adaptxfer.errors import INTERRUPTED, AdaptxferError, training_error
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.modules.weights import whole
from adaptxfer.training.checkpoint import Checkpoints, Progress
from adaptxfer.training.distributed import add_up, padded, seed_of_process, spread
from adaptxfer.training.memory import release_memory
from adaptxfer.training.optimiser import make_optimiser, rate
from adaptxfer.training.options import TrainingOptions
from adaptxfer.training.steps import Steps
from adaptxfer.training.watch import Watch, chance_error, check_finite

Score = Callable[[AdaptedModel], float]
Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run knows about itself."""

    steps: int
    best_step: int | None
    best_score: float | None
    seconds: float
    tokens: int
    evaluations: list[dict[str, Any]]


class Interrupted(AdaptxferError):
    """Ctrl-C or a termination signal, after the checkpoint was saved."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"Interrupted after step {step}; the checkpoint is saved.", "The same command continues.", INTERRUPTED
        )

    def __reduce__(self):
        return AdaptxferError, (self.message, self.hint, self.code)


def train(
    model: AdaptedModel,
    trained: Mapping[str, nn.Parameter],
    steps: Steps,
    options: TrainingOptions,
    folder: Path,
    score: Score,
    report: Report = lambda event: None,
    chance_score: float | None = None,
) -> TrainingResult:
    """Train the weights ``trained`` of ``model`` and leave the best of them in place.

    Args:
        model: encoder, modules and heads; must already be on its way through the right composition.
        trained: the weights that train, as `AdaptedModel.set_trainable` returns them.
        steps: what every optimiser step sees.
        options: the numbers.
        folder: where checkpoints live; training continues from the newest whole one.
        score: the dev score of the model as it stands, higher is better.
        report: takes events (``step``, ``evaluation``, ``note``) as they happen.
        chance_score: the dev score of guessing, where known.

    Of several processes (see `adaptxfer.ranks`) all call this with the same arguments, and the first writes.

    Raises:
        AdaptxferError: if training diverges or stays at chance (code 3), or is interrupted (code 130).
    """
    from adaptxfer.training.graphs import make_learner  # it builds upon this file

    torch.manual_seed(training_seed(options))
    run = make_learner(model, trained, steps, options, folder, report)
    with graceful() as stop:
        while not run.done:
            run.step()
            saved = run.look(score, chance_score, stop)
            if saved and ranks.anyone(stop.is_set()):  # after the last step too: what follows takes long
                raise Interrupted(run.progress.step)
    return run.finish()


def training_seed(options: TrainingOptions) -> int:
    """The seed of dropout in this process."""
    return seed_of_process(options.seed)


def evaluation_steps(total: int, times: int) -> set[int]:
    """After which steps the dev set is scored: evenly spread, the last step always among them."""
    return {max(1, round(total * k / times)) for k in range(1, times + 1)}


class Learner:
    """The moving parts of one run; see `train`. A step is `draw`, a backward pass and `advance`."""

    def __init__(self, model, trained, steps, options, folder, report) -> None:
        if options.recompute:
            recompute(model.network)
        AcceleratorState._reset_state()  # a process may train several runs with different precision
        self.accelerator = Accelerator(mixed_precision="bf16" if options.precision == "bf16" else "no")
        self.bare: AdaptedModel = model
        if options.sharded:
            trained = spread(model, trained)
        self.model = self.accelerator.prepare_model(model, evaluation_mode=True)  # gradients are added up here
        self.trained, self.steps, self.options, self.report = trained, steps, options, report
        self.checked: set[str] = set()  # tasks whose first step gave gradients
        self.optimiser = make_optimiser(trained, options)
        self.checkpoints = Checkpoints(folder, trained, self.optimiser, len(steps))
        found, damaged = self.checkpoints.load_latest()
        self.progress = found or Progress()
        for sentence in damaged:
            report({"event": "note", "text": sentence})
        if found:
            report({"event": "resume", "step": found.step, "total": len(steps)})
        self.watch = Watch(_chance_loss(model, steps), len(steps), options.warmup, self.progress.losses)
        self.due = evaluation_steps(len(steps), options.evaluations)

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.progress.step >= len(self.steps)

    def step(self) -> None:
        """One optimiser step."""
        started = time.perf_counter()
        self.model.train()
        task, batches = self.draw()
        loss = self._backward(task, batches)
        self.advance(task, loss, sum(batch.tokens for batch in batches), time.perf_counter() - started)

    def draw(self) -> tuple[str, list[PackedBatch]]:
        """The task of the next step, and its batch in pieces."""
        task, batches = self.steps.at(self.progress.step, self.options.batch_tokens)
        batches = padded(batches) if self.options.sharded else batches
        return task, [batch.to(self.accelerator.device) for batch in batches]

    def advance(self, task: str, loss: Tensor, tokens: int, seconds: float) -> None:
        """Take up the gradients of a step: clip, check, and change the weights.

        Args:
            task: of this step.
            loss: its mean, a scalar without gradient.
            tokens: how many it saw in this process.
            seconds: what its backward pass took.
        """
        started = time.perf_counter()
        number, options = self.progress.step, self.options
        lr = options.learning_rate * rate(number, len(self.steps), options.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        if task not in self.checked:
            check_gradients(self.trained, task)
            self.checked.add(task)
        value, seen = add_up([] if options.sharded else list(self.trained.values()), loss, tokens)
        norm = whole(nn.utils.clip_grad_norm_(self.trained.values(), options.clip))
        check_finite("loss", number, value)  # before the weights take it up
        check_finite("gradient norm", number, float(norm))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        release_memory(number)
        self.progress.step += 1
        self.note_step(number, task, value, lr, int(seen), seconds + time.perf_counter() - started)

    def note_step(self, number: int, task: str, loss: float, lr: float, tokens: int, seconds: float) -> None:
        """Report the outcome of 0-based step ``number``."""
        self.watch.add(number, loss)
        self.progress.tokens += tokens
        self.progress.seconds += seconds
        self.report(
            {
                "event": "step",
                "step": number + 1,
                "total": len(self.steps),
                "task": task,
                "loss": loss,
                "learning_rate": lr,
                "tokens": tokens,
                "tokens_per_s": tokens / max(seconds, 1e-9),
            }
        )

    def look(self, score: Score, chance_score: float | None, stop: threading.Event) -> bool:
        """After a step: score the dev set if it is due, and save a checkpoint then and when asked to stop.

        Returns:
            Whether a checkpoint of this step is saved.

        Raises:
            AdaptxferError: if training stays at chance.
        """
        done = self.progress.step
        saves = done in self.due or ranks.anyone(stop.is_set())
        if saves:
            self.settle()
        if done in self.due:
            value = self.evaluate(score)
            if self.watch.at_chance(done - 1, value, chance_score):
                _chance(self.options, done - 1, self.report)
        if saves:
            self.checkpoints.save(self.progress)
        return saves

    def settle(self) -> None:
        """Take note of steps whose outcome was not waited for; there are none here."""

    def count(self, task: str, batches: list[PackedBatch]) -> Tensor:
        """What the summed losses of a step are divided by, at least 1."""
        head = self.bare.head(task)
        return ranks.total(torch.stack([head.count(batch.targets) for batch in batches]).sum()).clamp(min=1)

    def _backward(self, task: str, batches: list[PackedBatch]) -> Tensor:
        """Gradients of the mean loss of a batch that comes in pieces, plus the method's penalty once."""
        count = self.count(task, batches)
        share = ranks.size() if self.options.sharded else 1  # FSDP divides by it
        total = torch.zeros((), device=self.accelerator.device)
        for batch in batches:
            with self.accelerator.autocast():
                loss = self.model(task, batch.ids, batch.bounds, {**batch.targets, "units": batch.units}) / count
            total += loss.detach()
            self.accelerator.backward(loss * share)
        if ranks.is_first() and (penalty := self.bare.method.penalty()) is not None:
            self.accelerator.backward(penalty)
            total += penalty.detach()
        return total

    def evaluate(self, score: Score) -> float:
        """Score the dev set and remember the weights if they are the best so far."""
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            value = score(self.bare)
        value = ranks.first(lambda: value)
        release_memory(0)
        progress = self.progress
        check_finite("dev score", progress.step - 1, value)
        progress.evaluations.append({"step": progress.step, "score": value})
        best = self.options.keep == "last" or progress.best_score is None or value > progress.best_score
        if best:
            progress.best_step, progress.best_score = progress.step, value
            self.checkpoints.save_best(progress)
        self.report({"event": "evaluation", "step": progress.step, "score": value, "best": best})
        return value

    def finish(self) -> TrainingResult:
        """Put the best weights in place."""
        self.checkpoints.load_best(self.progress)
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # accelerate replaced its forward for bf16
        self.bare.eval()
        p = self.progress
        return TrainingResult(p.step, p.best_step, p.best_score, p.seconds, p.tokens, p.evaluations)


def check_gradients(trained: Mapping[str, nn.Parameter], task: str) -> None:
    """After its first backward pass a task must have given a gradient to all weights but the heads of other tasks."""
    own = [name for name in trained if not name.startswith("heads.") or name.startswith(f"heads.{task}.")]
    silent = [name for name in own if trained[name].grad is None]
    if silent:
        raise training_error(
            f"{len(silent)} of {len(own)} weights get no gradient, e.g. {silent[0]}.",
            "The composition does not run through them; this is a fault of the set-up.",
        )


def _chance_loss(model: AdaptedModel, steps: Steps) -> float | None:
    if len(steps.tasks) != 1:
        return None
    return model.head(steps.tasks[0].task).chance_loss()


def _chance(options: TrainingOptions, step: int, report: Report) -> None:
    if options.on_chance == "stop":
        raise chance_error(step)
    report({"event": "note", "text": f"Still at chance level after {step + 1} steps (--on-chance warn)."})


@contextmanager
def graceful() -> Iterator[threading.Event]:
    """Inside the block the first Ctrl-C or termination signal asks to stop, the second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
