"""Base models: what is refused before transformers sees it, and what identity a loaded one has."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptxfer.encoder import fingerprint, load_encoder
from adaptxfer.encoder.load import BaseModel, ModelHints, body_parameters, check_config, locate, read_hints
from adaptxfer.errors import DATA, USE, AdaptxferError
from tests.tiny import hash_of, save_tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy_of(tiny_dir, tmp_path):
    return Path(shutil.copytree(tiny_dir, tmp_path / "copy"))


def change_config(folder: Path, **changed) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModel": "modeling.Evil"}),
        ("_attn_implementation", "someone/kernel"),
        ("_attn_implementation_internal", "someone/kernel"),
        ("attn_implementation", "someone/kernel"),
        ("kernels", ["x"]),
        ("kernel_config", {"a": 1}),
        ("use_kernels", True),
        ("quantization_config", {"quant_method": "x"}),
        ("text_config", {"deep": [{"_attn_implementation_internal": "someone/kernel"}]}),
    ],
)
def test_config_that_may_run_code_never_reaches_transformers(copy_of, monkeypatch, key, value):
    import transformers

    def reached(*_args, **_options):
        raise AssertionError("transformers was asked to read the folder")

    for name in ("AutoModel", "AutoTokenizer", "AutoConfig"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", reached)
    change_config(copy_of, **{key: value})
    with pytest.raises(AdaptxferError, match="make code from elsewhere run") as caught:
        load_encoder(str(copy_of))
    assert caught.value.code == DATA
    assert ("_attn_implementation_internal" if key == "text_config" else key) in caught.value.message


def test_a_key_that_is_null_is_harmless(copy_of):
    change_config(copy_of, auto_map=None, quantization_config=None)
    assert check_config(copy_of)["model_type"] == "xlm-roberta"


def test_a_module_folder_is_no_base_model(copy_of, tiny_dir):
    # transformers would load the model that adapter_config.json names, with a config nobody checked
    (copy_of / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny_dir)}))
    with pytest.raises(AdaptxferError, match="is a module, not a base model"):
        load_encoder(str(copy_of))


def test_pickle_is_never_read(copy_of, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    (copy_of / "model.safetensors").unlink()
    (copy_of / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(AdaptxferError, match="no safetensors weights"):
        load_encoder(str(copy_of))
    save_file({"x": torch.zeros(1)}, copy_of / "other.safetensors")
    with pytest.raises(AdaptxferError):
        load_encoder(str(copy_of))
    assert not (tmp_path / "exploded").exists()


def test_missing_and_misshapen_weights_are_refused(copy_of):
    name = "encoder.layer.1.output.dense.weight"
    change_weights(copy_of, lambda weights: weights.pop(name))
    with pytest.raises(AdaptxferError, match=f"lacks 1 weights.*{name}"):
        load_encoder(str(copy_of))
    change_weights(copy_of, lambda weights: weights.update({name: torch.zeros(3, 3)}))
    with pytest.raises(AdaptxferError) as caught:
        load_encoder(str(copy_of))
    assert caught.value.code == DATA


def test_truncated_weights_are_refused(copy_of):
    path = copy_of / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AdaptxferError, match="cannot be loaded") as caught:
        load_encoder(str(copy_of))
    assert caught.value.code == DATA and caught.value.hint


def test_damaged_tokenizer_is_refused(copy_of):
    (copy_of / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(AdaptxferError, match="cannot be loaded"):
        load_encoder(str(copy_of))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"model_type": "gpt2"}', "Model type 'gpt2' is not supported"),
        ("{}", "Model type None is not supported"),
        ("[1]", "not a JSON object"),
        ('{"model_type": ', "not valid JSON"),
    ],
)
def test_unusable_config(copy_of, text, expected):
    (copy_of / "config.json").write_text(text)
    with pytest.raises(AdaptxferError, match=expected) as caught:
        load_encoder(str(copy_of))
    assert caught.value.code == DATA


def test_folder_without_config(tmp_path):
    with pytest.raises(AdaptxferError, match=r"config\.json does not exist"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_missing_folder(model):
    with pytest.raises(AdaptxferError, match="no model folder") as caught:
        locate(model)
    assert caught.value.code == USE and "mini" in caught.value.hint


def test_what_is_no_hub_id():
    with pytest.raises(AdaptxferError, match="no Hub id") as caught:
        locate("two words")
    assert caught.value.code == USE


def ask_hub(home: Path, model: str, **environment: str) -> list[str]:
    """Locate a model in a fresh process (the Hub client reads its environment once); the answer as lines."""
    script = (
        "import sys\nfrom adaptxfer.encoder.load import locate\nfrom adaptxfer.errors import AdaptxferError\n"
        "try: print('found', *locate(sys.argv[1])[1:], sep='\\n')\n"
        "except AdaptxferError as error: print(error.code, error, sep='\\n')\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, model],
        env=kept | {"HF_HOME": str(home), "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_offline_hub_id(tmp_path):
    code, sentence = ask_hub(tmp_path, "some/model", HF_HUB_OFFLINE="1")
    assert int(code) == DATA
    assert "some/model is not here: --offline is set and it is not in the cache" in sentence
    assert "--model mini" in sentence


def test_unreachable_hub(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, sentence = ask_hub(tmp_path, "some/model", HF_ENDPOINT=f"http://127.0.0.1:{port}")
    assert int(code) == DATA
    assert "some/model" in sentence and "--model mini" in sentence and "--offline" not in sentence


def test_offline_hub_id_in_the_cache(tmp_path, tiny_dir):
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "hub" / "models--some--model"
    shutil.copytree(tiny_dir, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    assert ask_hub(tmp_path, "some/model", HF_HUB_OFFLINE="1") == ["found", "some/model", commit]


def test_fingerprint_tells_models_apart_and_copies_together(tiny_encoder, mini_dir, tmp_path):
    half = load_encoder(str(save_tiny(tmp_path / "half", mini_dir, dtype="float16")))
    single_dir = tmp_path / "single"
    half.network.save_pretrained(single_dir)
    shutil.copy(mini_dir / "tokenizer.json", single_dir)
    shutil.copy(mini_dir / "tokenizer_config.json", single_dir)
    assert (single_dir / "model.safetensors").stat().st_size > 1.9 * (
        tmp_path / "half" / "model.safetensors"
    ).stat().st_size
    single = load_encoder(str(single_dir))
    assert half.base.fingerprint == single.base.fingerprint
    other = load_encoder(str(save_tiny(tmp_path / "other", mini_dir, seed=1)))
    assert other.base.width == tiny_encoder.base.width
    assert len({half.base.fingerprint, other.base.fingerprint, tiny_encoder.base.fingerprint}) == 3


def test_fingerprint_sees_one_layer_change(tiny_encoder):
    from tests.tiny import fresh

    network = fresh(tiny_encoder).network
    before = fingerprint(network)
    with torch.no_grad():
        network.encoder.layer[1].output.dense.bias.add_(1e-3)
    assert fingerprint(network) != before == tiny_encoder.base.fingerprint


def test_weights_keep_their_precision_whatever_the_config_says(copy_of, tiny_encoder):
    change_config(copy_of, dtype="float16")
    again = load_encoder(str(copy_of))
    assert hash_of(again.network.state_dict()) == hash_of(tiny_encoder.network.state_dict())


def test_loaded_encoder(tiny_encoder, tiny_dir):
    base, network = tiny_encoder.base, tiny_encoder.network
    assert (base.id, base.revision, base.layers, base.width) == ("tiny", None, 2, 32)
    assert network.pooler is None and not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert str(tiny_dir.parent) not in network.config.to_json_string() + network.name_or_path
    assert tiny_encoder.tokenizer.is_fast
    whole = sum(parameter.numel() for parameter in network.parameters())
    assert body_parameters(network) == whole - sum(p.numel() for p in network.embeddings.parameters()) > 0
    assert BaseModel.from_dict(base.to_dict()) == base
    with pytest.raises(TypeError):
        BaseModel.from_dict(base.to_dict() | {"fingerprint": None})


def test_two_encoders_share_no_config(tiny_dir):
    from adaptxfer.modules.model import make_method

    one, two = load_encoder(str(tiny_dir)), load_encoder(str(tiny_dir))
    before = two.network.config.to_json_string()
    make_method("bottleneck", one.network).add("a", {}, 1)
    assert one.network.config is not two.network.config
    assert two.network.config.to_json_string() == before
    assert not hasattr(two.network, "adapters_config")


def test_hints(copy_of):
    assert read_hints(copy_of) == ModelHints()
    (copy_of / "adaptxfer.json").write_text('{"max_length": 64, "learning_rate": {"lora": 0.001}}')
    assert read_hints(copy_of) == ModelHints(64, None, {"lora": 0.001})
    for bad in ("[]", '{"max_length": "long"}', '{"learning_rate": 1}'):
        (copy_of / "adaptxfer.json").write_text(bad)
        with pytest.raises(AdaptxferError, match=r"adaptxfer\.json should hold"):
            read_hints(copy_of)
