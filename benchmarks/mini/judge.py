"""Judge encoders by what they are for: words guessed, translations found, tags carried over into other languages.

    python -m benchmarks.mini.judge mini FOLDER... --corpus CORPUS --data-dir DATA --runs RUNS --json FILE

All encoders go through the same protocol, and so do random weights of the first one's shape. Training and scoring are
those of the public interface; the same command again reuses what RUNS holds.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import adaptxfer as ax
from adaptxfer.cli.ask import parse_seeds
from adaptxfer.console import Table, console
from adaptxfer.encoder.load import load_encoder, locate
from adaptxfer.errors import AdaptxferError, use_error
from adaptxfer.evaluation.evaluate import evaluation_languages
from adaptxfer.files import file_hash, write_json
from benchmarks.mini.corpus import load_corpus
from benchmarks.mini.objectives import held_out_losses
from benchmarks.mini.start import copy_tokenizer, network

FLORES = {
    "ar": "arb_Arab", "bg": "bul_Cyrl", "de": "deu_Latn", "el": "ell_Grek", "en": "eng_Latn", "es": "spa_Latn",
    "fr": "fra_Latn", "hi": "hin_Deva", "ru": "rus_Cyrl", "sw": "swh_Latn", "th": "tha_Thai", "tr": "tur_Latn",
    "ur": "urd_Arab", "vi": "vie_Latn", "zh": "zho_Hans",
}  # fmt: skip
"""The languages of the corpus, and what FLORES calls them."""
RANDOM = "random"
MEAN, ZERO_SHOT = "mean", "mean zero-shot"

Scores = dict[tuple[str, str], list[float]]
"""By measure and row (a language, a layer, a mean), one number per seed; one alone where no seed plays a part."""


@dataclass(frozen=True)
class Protocol:
    """What every encoder is put through.

    Attributes:
        seeds: of masks, of the training of the tagger, and of random weights.
        sentences: held-out sentences per language to guess words in.
        limit: English sentences that the tagger is trained on.
        epochs: of that training.
        eval_limit: tagged sentences per language that count.
        pairs: translations per language to be found; None for all.
        method: what is trained for tagging; XTREME trains the whole encoder.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    sentences: int = 200
    limit: int = 2000
    epochs: float = 2.0
    eval_limit: int = 300
    pairs: int | None = None
    method: str = "full"


@dataclass(frozen=True)
class Judge:
    """Where the material lies, and the protocol."""

    corpus: Path | None
    data_dir: Path
    runs: Path
    protocol: Protocol

    def encoder(self, model: str) -> Scores:
        """Every measure of one pretrained encoder."""
        seeds, found = self.protocol.seeds, Scores()
        _add(found, self.words(model, seeds), self.translations(model), *(self.tags(model, seed) for seed in seeds))
        return found

    def random(self, model: str) -> Scores:
        """Every measure of random weights of that encoder's shape, other weights for each seed."""
        found = Scores()
        for seed in self.protocol.seeds:
            folder = str(random_like(model, self.runs / f"{RANDOM}-{seed}", seed))
            _add(found, self.words(folder, (seed,)), self.translations(folder), self.tags(folder, seed))
        return found

    def words(self, model: str, seeds: Sequence[int]) -> Iterator[tuple[str, str, float]]:
        """Held-out loss per masked word in nats: the mean over languages, then each."""
        if self.corpus is None:
            return
        from transformers import XLMRobertaForMaskedLM

        encoder = load_encoder(model)  # refuses configs that ask for code
        folder, _, _ = locate(model)
        network = XLMRobertaForMaskedLM.from_pretrained(folder, use_safetensors=True).float().eval()
        corpus = load_corpus(self.corpus, encoder.tokenizer, held_out_alone=True)
        for seed in seeds:
            losses = held_out_losses(network, corpus, encoder.tokenizer, self.protocol.sentences, seed)
            yield from _rows("masked words, nats", losses)

    def translations(self, model: str) -> Iterator[tuple[str, str, float]]:
        """Retrieval accuracy: by layer, then by language at the layer that the encoder recommends."""
        for task, codes in (("tatoeba", list(FLORES)), ("flores200", list(FLORES.values()))):
            here = evaluation_languages(ax.load_task(task), self.data_dir, None, None)
            chosen = [code for code in codes if code in here]
            asked = {"languages": chosen, "layer": "all", "eval_limit": self.protocol.pairs}
            scores = self._transferred(task, model, 1, **asked)
            metric, scores = scores["metric"], scores["languages"]
            layers = sorted(next(iter(scores.values()))["layers"], key=int)
            by_layer = {layer: fmean(values["layers"][layer] for values in scores.values()) for layer in layers}
            yield from ((f"{task}, by layer", layer, value) for layer, value in by_layer.items())
            yield from _rows(task, {code: float(values[metric]) for code, values in scores.items()})

    def tags(self, model: str, seed: int) -> Iterator[tuple[str, str, float]]:
        """Accuracy of part-of-speech tagging, trained on English: English, the other languages, and their mean."""
        here = evaluation_languages(ax.load_task("udpos"), self.data_dir, None, None)
        protocol = self.protocol
        scores = self._transferred(
            "udpos", model, seed, languages=[code for code in FLORES if code in here], eval_limit=protocol.eval_limit,
            method=protocol.method, limit=protocol.limit, epochs=protocol.epochs, evaluations=1, dev_limit=100,
            batch_size=16, on_chance="warn",
        )  # fmt: skip
        metric = scores["metric"]
        by_language = {code: float(values[metric]) for code, values in scores["languages"].items()}
        yield "udpos", ZERO_SHOT, fmean(value for code, value in by_language.items() if code != "en")
        yield from (("udpos", code, value) for code, value in by_language.items())

    def _transferred(self, task: str, model: str, seed: int, **options: Any) -> dict[str, Any]:
        given = {"model": model, "data_dir": self.data_dir, "runs": self.runs, "seeds": (seed,), **options}
        return ax.transfer(task, (), "none", **given).runs[0].read_scores()


def _rows(measure: str, values: Mapping[str, float]) -> Iterator[tuple[str, str, float]]:
    yield measure, MEAN, fmean(values.values())
    yield from ((measure, row, value) for row, value in values.items())


def _add(found: Scores, *parts: Iterator[tuple[str, str, float]]) -> None:
    for part in parts:
        for measure, row, value in part:
            found.setdefault((measure, row), []).append(value)


def random_like(model: str, folder: Path, seed: int) -> Path:
    """Write an encoder of the same shape and tokenizer with random weights.

    Args:
        model: the encoder to take after.
        folder: where it goes.
        seed: of the weights.
    """
    source, _, _ = locate(model)
    config = load_encoder(model).network.config
    tokenizer = copy_tokenizer(source, folder)
    layers, width = int(config.num_hidden_layers), int(config.hidden_size)  # type: ignore[union-attr, arg-type]
    network(len(tokenizer), layers, width, seed).save_pretrained(folder, safe_serialization=True)
    shutil.copyfile(source / "adaptxfer.json", folder / "adaptxfer.json")
    return folder


def table(found: Mapping[str, Scores], protocol: Protocol) -> Table:
    """All measures, a column for each encoder: mean ± standard deviation over seeds."""
    keys = list(dict.fromkeys(key for scores in found.values() for key in scores))
    order = [measure for measure, _ in keys]
    keys.sort(key=lambda key: order.index(key[0]))
    rows = [[*key, *(_cell(scores.get(key, ())) for scores in found.values())] for key in keys]
    columns = ["measure", "row", *((name, "right") for name in found)]
    caption = (
        f"{len(protocol.seeds)} seeds; tagging: {protocol.method}, {protocol.limit:,} English sentences, "
        f"{protocol.epochs:g} epochs, scored on {protocol.eval_limit:,} sentences per language at most. "
        "Losses compare only between encoders with one tokenizer."
    )
    return Table("Encoders, same protocol", columns, rows, caption)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def document(found: Mapping[str, Scores], models: Mapping[str, str], protocol: Protocol) -> dict[str, Any]:
    """The same with every seed's number, and hashes of the weights."""
    hashes = {name: file_hash(locate(model)[0] / "model.safetensors") for name, model in models.items()}
    nested: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, scores in found.items():
        for (measure, row), values in scores.items():
            nested.setdefault(name, {}).setdefault(measure, {})[row] = values
    return {"schema": 1, "protocol": asdict(protocol), "weights": hashes, "scores": nested}


def judge(models: Sequence[str], judge: Judge, random: bool = True) -> tuple[Table, dict[str, Any]]:
    """Put encoders through the protocol.

    Args:
        models: as for ``--model``; their names must differ.
        judge: material and protocol.
        random: whether random weights come last, for what is had without any pre-training.

    Raises:
        AdaptxferError: for encoders or data that cannot be used.
    """
    named = {locate(model)[1]: model for model in models}
    if len(named) < len(models):
        raise use_error("Two of the encoders have one name.", "Give different ones, in folders of different names.")
    found = {name: judge.encoder(model) for name, model in named.items()}
    if random:
        found[RANDOM] = judge.random(models[0])
    return table(found, judge.protocol), document(found, named, judge.protocol)


def main() -> None:
    """Parse the command line, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="mini, or folders with different names")
    parser.add_argument("--corpus", type=Path, help="training text with the held-out part; without it no loss is given")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--json", type=Path, help="file for every number")
    parser.add_argument("--no-random", action="store_true", help="leave out random weights")
    parser.add_argument("--seeds", default="1,2,3")
    for name in ("sentences", "limit", "epochs", "eval_limit", "pairs", "method"):
        kind = {"epochs": float, "method": str}.get(name, int)
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=getattr(Protocol, name))
    given = vars(parser.parse_args())
    try:
        given["seeds"] = tuple(parse_seeds(given["seeds"]))
        protocol = Protocol(**{name: given[name] for name in asdict(Protocol())})
        if given["corpus"] and not given["corpus"].is_file():
            raise use_error(f"--corpus {given['corpus']} is not a file.", "Leave it out to judge without it.")
        settings = Judge(given["corpus"], given["data_dir"], given["runs"], protocol)
        shown, found = judge(given["models"], settings, not given["no_random"])
    except AdaptxferError as error:
        parser.exit(error.code, f"{error}\n")
    if given["json"]:
        write_json(given["json"], found)
    console().result(found, shown)


if __name__ == "__main__":
    main()
