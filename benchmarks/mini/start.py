"""What training starts from: the tokenizer and a network with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from benchmarks.mini.corpus import read_lines


def train_tokenizer(corpus: Path, folder: Path, pieces: int, seed: int) -> Any:
    """Train a unigram SentencePiece model on the text and store it as XLM-R stores its own.

    Token numbers are XLM-R's: ``<s> <pad> </s> <unk>``, the pieces one place later than in the SentencePiece file,
    ``<mask>`` last (Conneau et al. 2020 after fairseq).

    Args:
        corpus: see `read_lines`.
        folder: where the tokenizer goes.
        pieces: of the SentencePiece model; the vocabulary is two larger.
        seed: of the sample of sentences that the training looks at.
    """
    import sentencepiece
    from transformers import XLMRobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.set_random_generator_seed(seed)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text for fields in read_lines(corpus) for text in fields[1::2]),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=pieces,
        character_coverage=0.9995,
        model_type="unigram",
        num_threads=1,
        input_sentence_size=1_000_000,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.vocab").unlink()
    tokenizer = XLMRobertaTokenizerFast(str(folder / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def copy_tokenizer(source: Path, folder: Path) -> Any:
    """Take over the tokenizer of another encoder."""
    from transformers import XLMRobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("sentencepiece.bpe.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(source / name, folder / name)
    return XLMRobertaTokenizerFast.from_pretrained(folder)


def network(words: int, layers: int, width: int, seed: int) -> Any:
    """A masked-language model of XLM-R's architecture with random weights; heads of 64, feed-forward 4 times as wide.

    It has no dropout: within these budgets no sentence is seen often enough to be learnt by heart.
    """
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    torch.manual_seed(seed)
    return XLMRobertaForMaskedLM(
        XLMRobertaConfig(
            vocab_size=words,
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
            max_position_embeddings=514,
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            layer_norm_eps=1e-5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
