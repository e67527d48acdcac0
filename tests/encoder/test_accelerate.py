"""Models of the libraries, called as their users call them, before and after `accelerate`."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from adapters import AdapterConfig, XLMRobertaAdapterModel
from adapters.composition import Fuse, Stack
from transformers import (
    BertForSequenceClassification,
    BertModel,
    RobertaForTokenClassification,
    XLMRobertaForMaskedLM,
    XLMRobertaForMultipleChoice,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from adaptxfer.encoder import packed
from adaptxfer.errors import AdaptxferError
from adaptxfer.kernels import accelerate
from tests.encoder.setups import bottlenecks, distance, furthest, lora, plain, trained

LENGTHS = (9, 4, 7, 1)


@pytest.fixture(autouse=True)
def unsaid(monkeypatch):
    monkeypatch.setattr(packed, "_said", set())


def batch(model="xlm-roberta", left=False, **more):
    """Padded ids, their mask and labels of sequences."""
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 1000, (len(LENGTHS), max(LENGTHS)), generator=random)
    place = torch.arange(max(LENGTHS))
    lengths = torch.tensor(LENGTHS)[:, None]
    mask = (place >= max(LENGTHS) - lengths if left else place < lengths).long()
    ids[mask == 0] = 0 if model == "bert" else 1
    return {"input_ids": ids, "attention_mask": mask, **more}


def config(model="xlm-roberta", **more):
    found = plain(model).config
    found.update({"type_vocab_size": 2, **more})
    return found


def results(model, inputs, weights):
    """Loss or logits or real hidden states, and the gradients of the weights."""
    model.zero_grad()
    out = model(**inputs)
    if (value := out.get("loss")) is None:
        value = out[0][inputs["attention_mask"] == 1] if out[0].dim() == 3 else out[0]
        value = (value * torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view(value.shape)).sum()
    value.backward()
    return value.detach(), {name: p.grad for name, p in weights.items()}


def assert_same(model, inputs, weights, within=1e-10):
    """The same value and gradients with and without, and the forward pass of the library in the end."""
    own = [part.forward for part in model.modules()]
    expected, gradients = results(model, inputs, weights)
    with accelerate(model) as handle:
        assert handle.encoders
        found, others = results(model, inputs, weights)
    assert not packed._said
    assert distance(found, expected) < within and furthest(others, gradients) < within
    assert [part.forward for part in model.modules()] == own


def adapter_model(setup, names, kind="seq_bn"):
    model = XLMRobertaAdapterModel(config())
    for name in names:
        model.add_adapter(name, AdapterConfig.load(kind, reduction_factor=4))
    if isinstance(setup, Fuse):
        model.add_adapter_fusion(setup)
    model.add_classification_head("head", num_labels=3)
    model.active_adapters, model.active_head = setup, "head"
    return model.double(), trained(model, lambda n: ".adapters." in n or "fusion" in n or n.startswith("heads."))


@pytest.mark.parametrize(
    ("setup", "names", "kind"),
    [("a", "a", "double_seq_bn"), (Stack("a", "b"), "ab", "seq_bn"), (Fuse("a", "b"), "ab", "seq_bn")],
)
def test_adapters_model_with_a_head(setup, names, kind):
    model, weights = adapter_model(setup, names, kind)
    assert_same(model, batch(labels=torch.tensor([0, 2, 1, 1])), weights)


def test_peft_model_for_sequence_classification():
    inner = XLMRobertaForSequenceClassification(config(num_labels=3))
    made = peft.get_peft_model(inner, peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"]))
    weights = trained(made, lambda name: ".lora_" in name or "modules_to_save" in name)
    assert_same(made.double(), batch(labels=torch.tensor([0, 2, 1, 1])), weights)


@pytest.mark.parametrize("left", [False, True])
def test_plain_bert_with_adapters(left):
    model = BertModel(config("bert"))
    weights = bottlenecks(model, "seq_bn", "a", "a", reduction_factor=4)
    assert_same(model.double(), batch("bert", left), weights)


def test_types_positions_and_pooler_of_bert():
    model = BertForSequenceClassification(config("bert")).double()
    types = (torch.arange(9) > 2).long().expand(4, 9)
    inputs = batch("bert", token_type_ids=types, position_ids=torch.arange(3, 12)[None], labels=torch.ones(4).long())
    assert_same(model, inputs, dict(model.named_parameters()))


def test_heads_of_transformers():
    labels = torch.full((4, 9), -100)
    labels[:, 0] = 1
    model = RobertaForTokenClassification(config("roberta")).double()
    assert_same(model, batch(labels=labels), dict(model.named_parameters()))
    model = XLMRobertaForMaskedLM(config()).double()
    assert_same(model, batch(labels=labels, return_dict=True), dict(model.named_parameters()))
    model = XLMRobertaForMultipleChoice(config()).double()
    two = {name: value.view(2, 2, 9) for name, value in batch().items()}
    assert_same(model, two | {"labels": torch.tensor([0, 1])}, dict(model.named_parameters()))


@torch.no_grad()
def test_all_outputs_of_an_encoder():
    model = XLMRobertaModel(config()).double().eval()
    inputs = batch()
    real = inputs["attention_mask"] == 1
    expected = model(**inputs, output_hidden_states=True)
    with accelerate(model):
        found = model(**inputs, output_hidden_states=True)
        plain_tuple = model(**inputs, return_dict=False)
        positional = model(inputs["input_ids"], inputs["attention_mask"])
        unmasked = model(inputs["input_ids"][:1])
    assert [type(found), *found] == [type(expected), *expected]
    for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert torch.allclose(one[real], other[real], atol=1e-12) and not one[~real].any()
    assert torch.allclose(found.pooler_output, expected.pooler_output)
    assert torch.equal(plain_tuple[0], found[0]) and len(plain_tuple) == 2
    assert torch.equal(positional[0], found[0])
    assert torch.allclose(unmasked[0], expected[0][:1], atol=1e-12)


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("adaptxfer")]


@torch.no_grad()
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"output_attentions": True}, "output_attentions is given"),
        ({"head_mask": torch.ones(4)}, "head_mask is given"),
        ({"attention_mask": torch.ones(4, 9, 9)}, "a mask of the same shape"),
    ],
)
def test_calls_with_other_arguments_go_the_old_way(more, reason, caplog):
    model = XLMRobertaModel(config(), add_pooling_layer=False).eval()
    model.set_attn_implementation("eager")
    inputs = batch() | more
    expected = model(**inputs)
    with accelerate(model):
        found = [model(**inputs), model(**inputs)]
    assert torch.equal(found[0][0], expected[0]) and torch.equal(found[1][0], expected[0])
    (message,) = said(caplog)
    assert reason in message


def test_embeddings_instead_of_ids_go_the_old_way(caplog):
    model = XLMRobertaModel(config(), add_pooling_layer=False).eval()
    with accelerate(model):
        model(inputs_embeds=torch.zeros(1, 3, 32))
        with pytest.raises(ValueError, match="specify either"):
            model()
        with pytest.raises(TypeError, match="unexpected"):
            model(input_idz=torch.zeros(1, 3))
    assert "inputs_embeds is given" in said(caplog)[0]


def test_what_has_no_formula_is_left_alone_and_named(caplog):
    model = plain()
    bottlenecks(model, "seq_bn", "a", "a", use_gating=True)
    with accelerate(model):
        model(**batch())
        model(**batch())
    assert said(caplog) == ["The padding-free encoder is not used: a bottleneck is gated."]
    accelerate(torch.nn.Linear(2, 2)).restore()
    assert "no XLM-R, RoBERTa or BERT encoder" in said(caplog)[1]


def test_hooks_are_respected(caplog):
    model, seen = plain(), []
    model.encoder.layer[1].register_forward_hook(lambda *_: seen.append(1))
    with accelerate(model):
        model(**batch())
    assert seen and "has hooks" in said(caplog)[0]


@torch.no_grad()
def test_question_answering_is_exact(caplog):
    model = XLMRobertaForQuestionAnswering(config()).double().eval()
    positions = {"start_positions": torch.tensor([0, 1, 2, 0]), "end_positions": torch.tensor([3, 1, 2, 0])}
    inputs = batch() | positions
    full = {name: value[:1] for name, value in inputs.items()}
    expected, unpadded = model(**inputs).loss, model(**full).loss
    with accelerate(model):
        assert torch.allclose(model(**full).loss, unpadded) and not said(caplog)
        assert torch.equal(model(**inputs).loss, expected)
    assert "reads the states of padding" in said(caplog)[0]


@torch.no_grad()
def test_scores_of_a_fusion_can_still_be_asked_for(caplog):
    model, _ = adapter_model(Fuse("a", "b"), "ab")
    with accelerate(model):
        out = model(**batch(), output_adapter_fusion_attentions=True)
    assert out["adapter_fusion_attentions"] and "output_adapter_fusion_attentions" in said(caplog)[0]


@torch.no_grad()
def test_active_modules_may_change_afterwards():
    model = plain().eval()
    bottlenecks(model, "seq_bn", "ab", "a")
    accelerate(model)
    one = model(**batch())[0]
    model.set_active_adapters("b")
    assert not torch.allclose(one, model(**batch())[0])


@torch.no_grad()
def test_twice_is_once_and_a_copy_is_whole():
    model = plain().eval()
    first, second = accelerate(model), accelerate(model)
    assert len(first.encoders) == 1 and not second.encoders
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.zero_()
    assert twin.forward.encoder is twin and not torch.equal(twin(**batch())[0], model(**batch())[0])
    first.restore()
    assert "forward" not in vars(model)


def test_dropout_and_training():
    model = plain(dropout=0.3).train()
    weights = lora(model)
    with accelerate(model):
        torch.manual_seed(0)
        one, gradients = results(model, batch(), weights)
        two, _ = results(model, batch(), weights)
    assert one != two and all(g.isfinite().all() for g in gradients.values())


def test_modes():
    with pytest.raises(AdaptxferError, match="triton"):
        accelerate(plain(), kernels="tritn")
    with accelerate(plain(), kernels="torch") as handle:
        handle.encoders[0](**batch())


@torch.no_grad()
def test_kernels_asked_for_and_not_to_be_had(monkeypatch):
    monkeypatch.setattr("adaptxfer.encoder.accelerate.check_machine", lambda _: None)  # as on a machine with a GPU
    gated = plain()
    bottlenecks(gated, "seq_bn", "a", "a", use_gating=True)
    with pytest.raises(AdaptxferError, match="The Triton kernels cannot be used: a bottleneck is gated"):
        accelerate(gated, kernels="triton")
    assert "forward" not in vars(gated)
    model = plain()
    with accelerate(model, kernels="triton"), pytest.raises(AdaptxferError, match="head_mask is given"):
        model(**batch(), head_mask=torch.ones(4))


def test_saving_is_untouched(tmp_path):
    model = XLMRobertaForSequenceClassification(config())
    names = list(model.state_dict())
    with accelerate(model):
        assert list(model.state_dict()) == names
        model.save_pretrained(tmp_path)
    again = XLMRobertaForSequenceClassification.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
