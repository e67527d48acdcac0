"""Checkpoints from which a run continues bit for bit: weights, optimiser, random states, best so far. No pickle.

checkpoint/
  step-00000120/   weights, optimiser and random states as safetensors; state.json with their hashes, written last
  best-00000100.safetensors
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptxfer import ranks
from adaptxfer.errors import AdaptxferError
from adaptxfer.files import file_hash, read_json, write_error, write_json
from adaptxfer.modules.weights import copy_into, load_into, placed_like, read_tensors, save_tensors, whole

KEEP = 2
"""Checkpoints kept, so that a damaged newest one has a predecessor."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0  # optimiser steps done
    seconds: float = 0.0
    tokens: int = 0
    best_step: int | None = None
    best_score: float | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of the last steps, for `Watch`


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: where to keep them.
        parameters: weights that train, by name; read on saving, written on loading.
        optimiser: the AdamW over these weights.
        total: optimiser steps of the run; a checkpoint of a run with another number is not continued.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        total: int | None = None,
    ) -> None:
        self.folder, self.parameters, self.optimiser, self.total = folder, parameters, optimiser, total

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, then delete all but the last ``KEEP`` and what they do not refer to.

        Of several processes the first writes, with the random states of all.
        """
        parts = {"weights": _in_one_piece(self.parameters), "optimiser": _in_one_piece(self._moments())}
        states = ranks.gathered(_random_states())
        parts["random"] = {
            _of_process(n, name): state for n, found in enumerate(states) for name, state in found.items()
        }
        ranks.first(lambda: self._write(progress, parts))

    def _write(self, progress: Progress, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        final = self.folder / _name(progress.step)
        partial = self.folder / f".{final.name}"
        shutil.rmtree(partial, ignore_errors=True)
        for name, tensors in parts.items():
            save_tensors(partial / f"{name}.safetensors", tensors)
        hashes = {name: file_hash(partial / f"{name}.safetensors") for name in parts}
        state = {"progress": asdict(progress), "total": self.total, "files": hashes}
        write_json(partial / "state.json", state)
        try:
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        except OSError as error:
            raise write_error(final, error) from error
        self._prune(progress)

    def save_best(self, progress: Progress) -> None:
        """Keep the present weights as the best so far."""
        weights = _in_one_piece(self.parameters)
        ranks.first(lambda: save_tensors(best_path(self.folder, progress.step), weights))

    def load_best(self, progress: Progress) -> None:
        """Put the best weights back."""
        if progress.best_step is not None:
            load_into(self.parameters, best_path(self.folder, progress.best_step))

    def load_latest(self) -> tuple[Progress | None, list[str]]:
        """Continue from the newest checkpoint that is whole.

        Returns:
            Where the run stands (None: from the start), and a sentence for every checkpoint that was damaged.
        """
        progress, damaged = ranks.first(self._load_newest)
        if progress is not None and not ranks.is_first():
            self._load(self.folder / _name(progress.step))
        return progress, damaged

    def _load_newest(self) -> tuple[Progress | None, list[str]]:
        damaged = []
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                return self._load(path), damaged
            except (AdaptxferError, KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
                damaged.append(f"Checkpoint {path.name} is damaged ({error}); using the one before it.")
        return None, damaged

    def _load(self, path: Path) -> Progress:
        state = read_json(path / "state.json", "checkpoint")
        if state["total"] != self.total:
            raise ValueError(f"it belongs to a run of {state['total']} steps, this one has {self.total}")
        progress = Progress(**state["progress"])
        for name, digest in state["files"].items():
            if file_hash(path / f"{name}.safetensors") != digest:
                raise ValueError(f"{name} does not have its hash")
        if progress.best_step is not None:
            read_tensors(best_path(self.folder, progress.best_step))
        weights, moments, random = (
            read_tensors(path / f"{name}.safetensors") for name in ("weights", "optimiser", "random")
        )
        copy_into(self.parameters, weights, path.name)
        self._set_moments(moments)
        _set_random_states(random)
        return progress

    def _moments(self) -> dict[str, Tensor]:
        found = {}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                found[f"{name}|{key}"] = value
        return found

    def _set_moments(self, found: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            state = {
                key: found[f"{name}|{key}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{name}|{key}" in found
            }
            if state:
                self.optimiser.state[parameter] = {
                    key: value.to(parameter.device) if key == "step" else placed_like(value, parameter)
                    for key, value in state.items()
                }

    def _prune(self, progress: Progress) -> None:
        """Keep the last checkpoints up to this step (later ones were damaged) and the best weights as each saw them."""
        steps = {_step(path): path for path in self.folder.glob("step-*")}
        kept = sorted(step for step in steps if step <= progress.step)[-KEEP:]
        gone = [path for step, path in steps.items() if step not in kept]
        for path in [*gone, *self.folder.glob(".step-*")]:
            shutil.rmtree(path, ignore_errors=True)
        best = {_step(path): path for path in self.folder.glob("best-*.safetensors")}
        # Each best file beats those before it, so the newest one up to a step was the best at that step.
        wanted = {max((number for number in best if number <= step), default=None) for step in kept}
        for step in set(best) - wanted:
            best[step].unlink(missing_ok=True)


def _step(path: Path) -> int:
    """The step in the name of a checkpoint or of best weights."""
    return int(path.stem.split("-")[1])


def best_path(folder: Path, step: int) -> Path:
    """Where the best weights are, those of ``step``."""
    return folder / f"best-{step:08d}.safetensors"


def _in_one_piece(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as one process can write them; those that are spread over processes come together in the first."""
    found = {}
    for name, value in tensors.items():
        piece = whole(value)
        if ranks.is_first():
            found[name] = piece if piece is value else piece.detach().cpu()
    return found


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _of_process(number: int, name: str) -> str:
    """The name of a random state in its file; those of the first process are called as those of a single one."""
    return name if number == 0 else f"{name}.{number}"


def _random_states() -> dict[str, Tensor]:
    """The states of this process: of the CPU, and of its GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_random_states(states: Mapping[str, Tensor]) -> None:
    """Take up the states of this process; one that was not there before keeps the stream it has begun."""
    cpu, cuda = (states.get(_of_process(ranks.rank(), name)) for name in ("cpu", "cuda"))
    if cpu is not None:
        torch.set_rng_state(cpu)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)
