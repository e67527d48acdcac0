"""Modules of plain `adapters` and `peft`: usable as intermediates, with what they lack reported."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.hub.pull import pull, source_of
from adaptxfer.modules.bundle import load_bundle
from tests.tiny import fresh, packed, randomise

REPO = "bob/plain"


def files_of(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def plain_adapters(tiny_dir, tmp_path):
    """A bottleneck trained on a model with a flexible head, saved by the library alone."""
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(tiny_dir)
    model.add_adapter("nli", config="seq_bn")
    model.add_classification_head("nli", num_labels=3)
    randomise({k: v for k, v in model.named_parameters() if ".adapters.nli." in k}, 5)
    model.save_adapter(str(tmp_path / "plain"), "nli", use_safetensors=True)
    model.set_active_adapters("nli")
    return model, tmp_path / "plain"


@pytest.fixture
def plain_peft(tiny_dir, tmp_path):
    """A LoRA trained on a model for classification, saved by the library alone, its head with it."""
    import peft
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_dir, num_labels=3)
    config = peft.LoraConfig(r=4, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = peft.get_peft_model(model, config)
    randomise({k: v for k, v in model.named_parameters() if "lora_" in k}, 5)
    model.save_pretrained(str(tmp_path / "plain"), safe_serialization=True)
    return model, tmp_path / "plain"


@torch.no_grad()
def same_hidden_states(encoder, pulled, network) -> bool:
    ids, bounds = packed((6,))
    from adaptxfer.encoder import encode

    ours = encode(load_bundle(pulled.bundle, fresh(encoder)).network, ids, bounds)
    theirs = network.eval()(ids[None], attention_mask=torch.ones_like(ids[None]))[0][0]
    return torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["adapters", "peft"])
def test_they_give_the_same_hidden_states(hub, tiny_encoder, tiny_dir, tmp_path, request, kind):
    model, folder = request.getfixturevalue(f"plain_{kind}")
    hub.repo(REPO, files_of(folder))
    done = pull(REPO, tmp_path / "runs", model=str(tiny_dir))
    network = model.roberta if kind == "adapters" else model.base_model.model.roberta
    assert same_hidden_states(tiny_encoder, done, network)
    assert not done.source.verified and "the fingerprint of its base model" in done.source.missing
    assert done.bundle.heads == {} and done.bundle.single() == ("nli" if kind == "adapters" else "plain")
    assert ("its own head, which was left out" in done.source.missing) == (kind == "peft")
    assert source_of(done.bundle.folder) == done.source
    assert not pull(REPO, tmp_path / "runs", model=str(tiny_dir)).new


@pytest.mark.parametrize("kind", ["adapters", "peft"])
def test_the_base_model_must_be_named(hub, tmp_path, request, kind):
    _, folder = request.getfixturevalue(f"plain_{kind}")
    hub.repo(REPO, files_of(folder))
    with pytest.raises(
        AdaptxferError, match=r"has no bundle\.json, so the base model it fits is not certain"
    ) as caught:
        pull(REPO, tmp_path / "runs")
    assert caught.value.code == USE and "--model" in caught.value.hint
    assert not list((tmp_path / "runs").glob("*"))


def changed(files, **values):
    config = json.loads(files["adapter_config.json"])
    return {**files, "adapter_config.json": json.dumps({**config, **values}).encode()}


def with_tensors(files, tmp_path, change) -> dict[str, bytes]:
    (name,) = (name for name in files if name in ("adapter.safetensors", "adapter_model.safetensors"))
    path = tmp_path / "changed.safetensors"
    path.write_bytes(files[name])
    save_file(change(load_file(path)), path)
    return {**files, name: path.read_bytes()}


def first(tensors):
    return next(key for key in sorted(tensors) if "adapter_down" in key or "lora_A" in key)


TENSORS = {
    "missing": (lambda t: {k: v for k, v in t.items() if k != first(t)}, "lacks 1 of"),
    "extra": (lambda t: {**t, "encoder.layer.9.x": torch.zeros(1)}, "hold[s]? 1 weights that have no place"),
    "shape": (lambda t: {**t, first(t): torch.zeros(3, 3)}, "should have the shape"),
    "huge": (lambda t: {**t, first(t): torch.zeros(1, 10**6)}, "should have the shape"),
    "nan": (lambda t: {**t, first(t): torch.full_like(t[first(t)], float("nan"))}, "NaN or infinite"),
    "type": (lambda t: {**t, first(t): t[first(t)].to(torch.int8)}, "is of type torch.int8"),
    "complex": (lambda t: {**t, first(t): t[first(t)].to(torch.complex64)}, "is of type torch.complex64"),
    "double": (lambda t: {**t, first(t): t[first(t)].double()}, "is of type torch.float64"),
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("kind", ["adapters", "peft"])
def test_weights_that_do_not_fit(hub, tiny_dir, tmp_path, request, kind, name):
    _, folder = request.getfixturevalue(f"plain_{kind}")
    change, expected = TENSORS[name]
    hub.repo(REPO, with_tensors(files_of(folder), tmp_path, change))
    with pytest.raises(AdaptxferError, match=expected):
        pull(REPO, tmp_path / "runs", model=str(tiny_dir))
    assert not list((tmp_path / "runs").iterdir())


CONFIGS = [
    ("peft", {"peft_type": ["LORA"]}, "neither a LoRA"),
    ("peft", {"r": 10**9}, "r must be a whole number"),
    ("peft", {"r": "8"}, "r must be a whole number"),
    ("peft", {"use_dora": True}, "use_dora"),
    ("peft", {"target_modules": ["nothing"]}, "no linear layers to adapt"),
    ("peft", {"target_modules": "(a+)+$"}, "no linear layers to adapt|does not describe"),
    ("peft", {"modules_to_save": ["encoder"]}, "carries a head inside"),
    ("peft", {"auto_mapping": {"base_model_class": "os.system"}}, None),
    ("peft", {"base_model_name_or_path": "evil/model"}, None),
    ("peft", {"layer_replication": [[0, 2], [0, 2]]}, "layer_replication"),
    ("peft", {"corda_config": {"cache_file": "/etc/passwd"}}, "corda_config"),
    ("peft", {"loftq_config": {"x": 1}}, "loftq_config"),
    ("adapters", {"hidden_size": 999}, "made for an encoder of width 999"),
    ("adapters", {"config": {"architecture": "lora", "r": 8}}, "neither a LoRA"),
    ("adapters", {"config": {"architecture": None, "reduction_factor": 0}}, "does not describe a bottleneck"),
    ("adapters", {"config": {"architecture": None, "reduction_factor": "os"}}, "does not describe a bottleneck"),
    ("adapters", {"config": "pfeiffer"}, "neither a LoRA"),
    ("adapters", {"name": "../../evil"}, "lacks|no place"),
    ("adapters", {"name": ["x"]}, "lacks|no place"),
]


@pytest.mark.parametrize(("kind", "values", "expected"), CONFIGS)
def test_configurations_of_strangers(hub, tiny_dir, tmp_path, request, kind, values, expected):
    _, folder = request.getfixturevalue(f"plain_{kind}")
    hub.repo(REPO, changed(files_of(folder), **values))
    if expected is None:  # names that are never followed
        assert pull(REPO, tmp_path / "runs", model=str(tiny_dir)).new
        return
    with pytest.raises(AdaptxferError, match=expected):
        pull(REPO, tmp_path / "runs", model=str(tiny_dir))
    assert not list((tmp_path / "runs").glob("*"))


def test_a_useless_name_is_replaced(hub, tiny_dir, tmp_path, plain_peft):
    _, folder = plain_peft
    for repo, name in (("bob/lora_", "pulled"), ("bob/x.y.z", "x_y_z"), ("bob/keys", "pulled")):
        hub.repo(repo, files_of(folder))
        assert pull(repo, tmp_path / "runs", model=str(tiny_dir)).bundle.single() == name
