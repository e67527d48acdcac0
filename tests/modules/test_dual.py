from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from adaptxfer.encoder.load import load_encoder, load_masked_head
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.dual import masked_head
from adaptxfer.modules.heads import HeadSpec, build_head

BOUNDS = torch.tensor([0, 2, 5, 6, 9])


def test_in_batch_softmax_by_hand():
    head = build_head(HeadSpec("retrieve", 6, dropout=0.0, init_range=0.5), 1, "x")
    hidden = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    vectors = F.normalize(torch.tanh(head.dense(hidden[[0, 2, 5, 6]])), dim=1)
    side = torch.tensor([0, 1, 0, 1])
    logits = 100 * vectors[[0, 2]] @ vectors[[1, 3]].T
    expected = -logits.log_softmax(1).diagonal().sum()
    scores = head(hidden, BOUNDS)
    assert torch.allclose(scores, vectors, atol=1e-6) and int(head.count({"side": side})) == 2
    assert torch.allclose(head.loss(scores, BOUNDS, {"side": side}), expected, rtol=1e-5)
    assert math.isclose(float(head.log_scale.detach().exp()), 100, rel_tol=1e-5)


def test_the_pretrained_masked_word_head_predicts_as_the_library_does(mini_dir):
    from transformers import AutoModelForMaskedLM

    reference = AutoModelForMaskedLM.from_pretrained(mini_dir, dtype="float32").eval()
    encoder = load_encoder("mini")
    head = masked_head(encoder.network, load_masked_head("mini"))
    ids = torch.tensor([[0, 50, 600, 7000, 2]])
    labels = torch.tensor([-100, 55, -100, 9, -100])
    with torch.no_grad():
        logits = reference(ids).logits[0]
        hidden = encoder.network.eval()(ids).last_hidden_state[0]
        loss = head.train_loss(hidden, torch.tensor([0, 5]), {"label": labels})
    assert not head.trains
    assert torch.allclose(loss, F.cross_entropy(logits, labels, reduction="sum"), rtol=1e-5)


def test_a_base_model_without_the_head_is_refused(tiny_dir):
    with pytest.raises(AdaptxferError, match="no masked-word head"):
        load_masked_head(str(tiny_dir))
