"""The numbers of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from adaptxfer.errors import use_error


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides the result of a training run besides model and data.

    The defaults are those of the X-STILTs recipe (protocol of arXiv 2005.13013 as released in jiant).
    """

    learning_rate: float
    """Peak learning rate of AdamW."""
    epochs: float = 3.0
    """Passes over the data; ignored when ``max_steps`` is set."""
    max_steps: int | None = None
    """Optimiser steps."""
    batch_size: int = 32
    """Examples per optimiser step."""
    batch_tokens: int = 8192
    """Padded tokens per forward pass: bounds memory, does not change the result."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises linearly; then it falls linearly to 0."""
    weight_decay: float = 0.01
    """Decoupled decay; never on biases, LayerNorm weights and fusion value matrices."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    precision: str = "fp32"
    """fp32 or bf16 (autocast; weights that train stay fp32)."""
    evaluations: int = 10
    """How often the dev set is scored over the schedule; the best checkpoint wins."""
    keep: str = "best"
    """Which weights are kept: best on the dev set, or last."""
    recompute: bool = False
    """Whether the backward pass computes activations again instead of keeping them (gradient checkpointing)."""
    sharded: bool = False
    """Whether the weights are spread over the processes, for encoders that one card cannot train."""
    on_chance: str = "stop"
    """What to do when training does not leave chance level: stop or warn."""
    graphs: str = "auto"
    """Whether steps are replayed as CUDA graphs: auto, on or off; see `adaptxfer.training.graphs`."""
    seed: int = 1

    def __post_init__(self) -> None:
        faults = [text for bad, text in self._faults() if bad]
        if faults:
            raise use_error("; ".join(faults) + ".", "Correct these options and run again.")

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (not 0 < self.learning_rate < 10, f"--learning-rate must lie between 0 and 10, got {self.learning_rate}"),
            (not 0 < self.epochs <= 10_000, f"--epochs must lie between 0 and 10,000, got {self.epochs}"),
            (self.max_steps is not None and self.max_steps < 1, f"--max-steps must be positive, got {self.max_steps}"),
            (self.batch_size < 1, f"--batch-size must be positive, got {self.batch_size}"),
            (self.batch_tokens < 1, f"--batch-tokens must be positive, got {self.batch_tokens}"),
            (not 0 <= self.warmup < 1, f"--warmup is a share between 0 and 1, got {self.warmup}"),
            (not self.weight_decay >= 0, f"--weight-decay must not be negative, got {self.weight_decay}"),
            (not self.clip > 0, f"--clip must be positive, got {self.clip}"),
            (not self.epsilon > 0, f"epsilon must be positive, got {self.epsilon}"),
            (self.precision not in ("fp32", "bf16"), f"--precision must be fp32 or bf16, got {self.precision!r}"),
            (self.evaluations < 1, f"--evaluations must be positive, got {self.evaluations}"),
            (self.graphs not in ("auto", "on", "off"), f"--graphs must be auto, on or off, got {self.graphs!r}"),
            (self.on_chance not in ("stop", "warn"), f"--on-chance must be stop or warn, got {self.on_chance!r}"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """As stored in a manifest."""
        return asdict(self)
