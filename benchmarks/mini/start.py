"""What training starts from: the tokenizer, the shape of the network, and its first embeddings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.mini.corpus import Corpus, read_lines

EMBEDDING_STD = 0.04
"""Root mean square of the entries of an embedding that comes from translations; the rest start at 0.02."""


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


def translation_embeddings(corpus: Corpus, words: int, width: int, seed: int) -> Tensor:
    """(words, width): tokens that stand in the same translation pairs start close to each other.

    The left singular vectors, scaled by the square roots of the singular values, of the tf-idf matrix of tokens by
    pairs: cross-lingual latent semantic indexing (Dumais et al. 1997). Tokens that no pair contains get zeros.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import svds

    pairs = np.concatenate(list(corpus.pairs.values()))
    sides = [[corpus.sentence(n) for n in pair] for pair in pairs]
    tokens = np.concatenate([part for pair in sides for part in pair])
    columns = np.repeat(np.arange(len(pairs)), [sum(map(len, pair)) for pair in sides])
    counts: Any = coo_matrix((np.ones(len(tokens), np.float32), (tokens, columns)), shape=(words, len(pairs)))
    counts.sum_duplicates()
    rarity = np.log(len(pairs) / np.maximum(1, np.bincount(counts.row, minlength=words)))
    counts.data = ((1 + np.log(counts.data)) * rarity[counts.row]).astype(np.float32)
    size = np.sqrt(np.bincount(counts.col, counts.data**2, len(pairs)))
    counts.data /= np.maximum(1e-9, size)[counts.col].astype(np.float32)
    start = np.random.default_rng(seed).standard_normal(min(counts.shape)).astype(np.float32)
    solve: Any = svds
    vectors, values, _ = solve(counts.tocsr(), k=width, v0=start, tol=1e-2, return_singular_vectors="u")
    scaled = torch.from_numpy(vectors * np.sqrt(values))
    return torch.nn.functional.normalize(scaled, dim=1) * EMBEDDING_STD * width**0.5
