"""Pre-train a small multilingual encoder, on two CPU cores or a GPU's worth of patience.

    python -m benchmarks.mini.pretrain CORPUS FOLDER --variant mlm
    python -m benchmarks.mini.pretrain CORPUS OTHER --variant align --start FOLDER/export
    python -m benchmarks.mini.pretrain CORPUS FOLDER --variant mlm --decay-steps 800

The learning rate warms up and then stays, so the length need not be known: the last line goes on from the last
checkpoint, lets the rate fall to zero, and ends. FOLDER/export is an encoder for ``--model``; the second line trains a
copy of it further, on translations, as InfoXLM began with XLM-R.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adaptxfer.embedded import encoder_dir
from adaptxfer.errors import AdaptxferError, use_error
from adaptxfer.files import file_hash, read_json, write_json
from adaptxfer.modules.weights import load_into
from adaptxfer.training.checkpoint import Checkpoints, Progress
from adaptxfer.training.loop import Interrupted, graceful
from adaptxfer.training.memory import release_memory
from adaptxfer.training.watch import check_finite
from benchmarks.mini.corpus import Corpus, Sampler, load_corpus
from benchmarks.mini.objectives import held_out_losses, losses
from benchmarks.mini.start import copy_tokenizer, network, train_tokenizer

LOG_EVERY, SAVE_EVERY = 50, 250


@dataclass(frozen=True)
class Recipe:
    """All that a training result depends on, besides the text and how long it goes on.

    ``mlm``: masked words of sentences, streams and translation pairs (XLM-R's kind of objective, with TLM).
    ``align``: besides, the contrast of translations (InfoXLM).
    """

    variant: str = "mlm"
    seed: int = 1
    layers: int = 5
    width: int = 256
    tokens: int = 4096  # for masked words, per step
    contrast: int = 128  # pairs per step of `align`
    share: float = 0.2  # of words masked
    learning_rate: float = 1e-3
    warmup: int = 300  # steps
    precision: str = "bf16"
    pieces: int = 0  # of a tokenizer to train; 0 takes that of the embedded encoder

    def rate(self, step: int, decay: tuple[int, int] | None) -> float:
        """The learning rate of a 0-based step; ``decay`` is the step where it begins to fall, and over how many."""
        risen = min(1.0, (step + 1) / self.warmup)
        return self.learning_rate * (risen if decay is None else risen * max(0.0, 1 - (step - decay[0]) / decay[1]))


class Run:
    """One training run in its folder.

    Args:
        corpus_file: see `benchmarks.mini.corpus.read_lines`.
        folder: of the run; what is there is continued.
        recipe: must be the one the folder began with.
        start: weights to begin with, an exported encoder of the same shape; None for random ones.
    """

    def __init__(self, corpus_file: Path, folder: Path, recipe: Recipe, start: Path | None = None) -> None:
        self.folder, self.recipe = folder, recipe
        known = folder / "recipe.json"
        if known.exists() and read_json(known, "recipe") != asdict(recipe):
            raise use_error(f"{folder} was begun with another recipe.", f"Give what {known} says, or a new folder.")
        write_json(known, asdict(recipe))
        self.tokenizer = self._tokenizer(corpus_file)
        self.corpus: Corpus = load_corpus(corpus_file, self.tokenizer)
        contrast = recipe.contrast if recipe.variant == "align" else 0
        self.sampler = Sampler(self.corpus, recipe.seed, recipe.tokens, contrast)
        self.model = network(len(self.tokenizer), recipe.layers, recipe.width, recipe.seed)
        parameters = dict(self.model.named_parameters())
        groups = [{"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": 0.01},
                  {"params": [p for p in parameters.values() if p.dim() == 1], "weight_decay": 0.0}]  # fmt: skip
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.checkpoints = Checkpoints(folder / "checkpoint", parameters, self.optimiser)
        found, damaged = self.checkpoints.load_latest()
        for sentence in damaged:
            print(sentence)
        if found is None and start is not None:
            self._begin_with(start / "model.safetensors")
        self.progress = found or Progress()

    def _tokenizer(self, corpus_file: Path) -> Any:
        folder = self.folder / "tokenizer"
        if folder.exists() or not self.recipe.pieces:
            source = folder if folder.exists() else encoder_dir("mini")
            assert source is not None
            return copy_tokenizer(source, self.folder / "export")
        train_tokenizer(corpus_file, folder, self.recipe.pieces, self.recipe.seed)
        return copy_tokenizer(folder, self.folder / "export")

    def _begin_with(self, weights: Path) -> None:
        load_into(dict(self.model.named_parameters()), weights)
        write_json(self.folder / "start.json", {"sha256": file_hash(weights)})

    def decay(self, steps: int | None) -> tuple[int, int] | None:
        """Where the learning rate begins to fall and over how many steps; asked for once, then remembered."""
        path = self.folder / "decay.json"
        if steps and not path.exists():
            write_json(path, {"from": self.progress.step, "steps": steps})
        if not path.exists():
            return None
        found = read_json(path, "schedule")
        return found["from"], found["steps"]

    def step(self, decay: tuple[int, int] | None) -> dict[str, float]:
        """One optimiser step; its losses, and the tokens that went through the encoder."""
        recipe, number = self.recipe, self.progress.step
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        batch = self.sampler.batch(number)
        cast = torch.autocast("cpu", torch.bfloat16) if recipe.precision == "bf16" else nullcontext()
        with cast:
            found = losses(self.model, batch, self.tokenizer, generator, recipe.share)
        total = found.words if found.contrast is None else found.words + found.contrast
        check_finite("loss", number, float(total.detach()))
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(number, decay)
        self.optimiser.step()
        self.optimiser.zero_grad()
        release_memory(number)
        self.progress.step += 1
        self.progress.tokens += len(batch.ids)
        contrast = {} if found.contrast is None else {"contrast": float(found.contrast.detach())}
        return {"words": float(found.words.detach()), **contrast}

    def train(self, decay_steps: int | None, max_steps: int | None, max_minutes: float | None) -> None:
        """Go on until the rate has fallen, or a limit is reached; checkpoints on the way and at the end."""
        decay, began, used = self.decay(decay_steps), time.monotonic(), time.process_time()
        recent: dict[str, list[float]] = {}
        before = self.progress.seconds
        with graceful() as stop:
            while not (stop.is_set() or self._ended(decay, max_steps, max_minutes, began)):
                for name, value in self.step(decay).items():
                    recent.setdefault(name, []).append(value)
                self.progress.seconds = before + time.process_time() - used
                if self.progress.step % LOG_EVERY == 0:
                    self.log({name: sum(values) / len(values) for name, values in recent.items()})
                    recent.clear()
                if self.progress.step % SAVE_EVERY == 0:
                    self.save()
            self.save()
        if stop.is_set():
            raise Interrupted(self.progress.step)

    def _ended(self, decay: tuple[int, int] | None, steps: int | None, minutes: float | None, began: float) -> bool:
        fallen = decay is not None and self.progress.step >= sum(decay)
        late = minutes is not None and time.monotonic() - began > 60 * minutes
        return fallen or late or (steps is not None and self.progress.step >= steps)

    def save(self) -> None:
        """A checkpoint, the held-out loss of every language, and the encoder as it is now."""
        self.checkpoints.save(self.progress)
        found = held_out_losses(self.model, self.corpus, self.tokenizer)
        self.log({"held_out": {language: round(loss, 3) for language, loss in found.items()}})
        self.export()

    def log(self, values: dict[str, Any]) -> None:
        """Add a line to log.jsonl: step, tokens, seconds of processor time, and ``values``."""
        stand = {"step": self.progress.step, "tokens": self.progress.tokens, "cpu_s": round(self.progress.seconds, 1)}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(stand | values) + "\n")

    def export(self) -> None:
        """Write the weights in fp16 beside the tokenizer, with hints, so that ``--model FOLDER/export`` works."""
        from transformers import XLMRobertaForMaskedLM

        folder = self.folder / "export"
        copy = XLMRobertaForMaskedLM(self.model.config)
        copy.load_state_dict(self.model.state_dict())
        copy.half().save_pretrained(folder, safe_serialization=True)
        hints = {"name": f"mini-{self.recipe.variant}", "max_length": 512, "retrieval_layer": self.recipe.layers,
                 "learning_rate": {"bottleneck": 3e-3, "lora": 3e-3, "full": 3e-4, "fuse": 3e-3}}  # fmt: skip
        write_json(folder / "adaptxfer.json", hints)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=Path, help="an exported encoder to begin with")
    parser.add_argument("--decay-steps", type=int, help="let the learning rate fall to zero over so many steps; end")
    parser.add_argument("--max-steps", type=int, help="stop at this step")
    parser.add_argument("--max-minutes", type=float, help="stop after so many minutes")
    for name, value in asdict(Recipe()).items():
        choices = {"variant": ("mlm", "align"), "precision": ("bf16", "fp32")}.get(name)
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value, choices=choices)
    given = vars(parser.parse_args())
    recipe = Recipe(**{name: given[name] for name in asdict(Recipe())})
    try:
        run = Run(given["corpus"], given["folder"], recipe, given["start"])
        run.train(given["decay_steps"], given["max_steps"], given["max_minutes"])
    except AdaptxferError as error:
        parser.exit(error.code, f"{error}\n")


if __name__ == "__main__":
    main()
