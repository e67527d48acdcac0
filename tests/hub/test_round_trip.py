"""The whole way with real training: pushed here, pulled on another machine with an empty cache, the same scores."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

MINI = "lab/mini"
SEND = """
import json, sys
from adaptxfer import api
from adaptxfer.hub.push import push

short = dict(model="lab/mini", runs="runs", max_steps=3, evaluations=1, batch_size=4, dev_limit=8)
score = dict(languages=["en", "sw"], eval_limit=12)
nli, stories = (api.train_intermediate(name, **short) for name in ("sample_nli", "sample_stories"))
lora = api.train_intermediate("sample_nli", method="lora", **short)
found = {"bottleneck": (nli.folder, api.evaluate(nli, "sample_nli", runs="runs", **score)),
         "lora": (lora.folder, api.evaluate(lora, "sample_nli", runs="runs", **score))}
ways = [("stack", [nli], "bottleneck"), ("fuse", [nli, stories], "bottleneck"),
        ("none", [], "full"), ("stack", [lora], "lora")]
for name, (how, parents, method) in zip(("stack", "fuse", "full", "lora-stack"), ways):
    done = api.transfer("sample_claims", parents, how=how, method=method, **short, **score)
    found[name] = (api.RunStore(api.Path("runs")).root / done.runs[0].manifest["parents"][0], done)
for name, (folder, _) in found.items():
    push(folder, f"ann/{name}", private=name == "lora")
print(json.dumps({name: done.to_dict()["runs"][0]["scores"]["languages"] for name, (_, done) in found.items()}))
"""
FETCH = """
import json
from pathlib import Path
from adaptxfer import api
from adaptxfer.hub.pull import fetch

score = dict(runs="runs", languages=["en", "sw"], eval_limit=12)
found = {}
for name in ("bottleneck", "lora", "stack", "fuse", "full", "lora-stack"):
    folder = fetch(f"hub:ann/{name}", Path("runs"))
    done = api.evaluate(folder, "sample_nli" if name in ("bottleneck", "lora") else "sample_claims", **score)
    found[name] = done.to_dict()["runs"][0]["scores"]["languages"]
short = dict(model="lab/mini", max_steps=2, evaluations=1, batch_size=4, dev_limit=8)
stacked = api.transfer("sample_claims", [fetch("hub:ann/bottleneck", Path("runs"))], how="stack", **short,
                       **{**score, "languages": ["sw"]})
found["used"] = stacked.records[0].intermediates
print(json.dumps(found))
"""
PLAIN = """
import json, sys
blocks, states = json.loads(sys.argv[1]), {}
for name, block in blocks.items():
    room = {}
    exec(block, room)
    network = room["model"].eval()
    import torch
    ids = torch.tensor([[0, 100, 200, 300, 2]])
    with torch.no_grad():
        states[name] = network(input_ids=ids, attention_mask=torch.ones_like(ids))[0].flatten()[:300].tolist()
from adaptxfer.encoder import encode, load_encoder
from adaptxfer.hub.pull import fetch
from adaptxfer.modules.bundle import load_bundle, read_bundle
from pathlib import Path
ours = {}
for name in blocks:
    model = load_bundle(read_bundle(fetch(f"hub:ann/{name}", Path("runs"))), load_encoder("lab/mini"))
    with torch.no_grad():
        ours[name] = encode(model.network, ids[0], torch.tensor([0, 5])).flatten()[:300].tolist()
print(json.dumps({name: max(abs(a - b) for a, b in zip(states[name], ours[name], strict=True)) for name in blocks}))
"""


@pytest.fixture(scope="module")
def sent(machine, mini_dir: Path):
    """What the sending machine scored, with everything on the Hub, the base model too."""
    hub, make = machine
    files = {path.name: path.read_bytes() for path in mini_dir.iterdir() if path.suffix != ".md"}
    hub.repo(MINI, files)
    return hub, make, make("sender").run(SEND)


def test_another_machine_scores_the_same_to_the_digit(sent):
    hub, make, scores = sent
    again = make("receiver").run(FETCH)
    assert again.pop("used") == ["sample_nli"]
    assert again == scores and set(scores) == {"bottleneck", "lora", "stack", "fuse", "full", "lora-stack"}
    assert hub.repos["ann/lora"].private and not hub.repos["ann/full"].private


def test_the_code_on_the_cards_loads_them_without_adaptxfer(sent):
    hub, make, scores = sent
    blocks = {}
    for name in scores:
        card = hub.repos[f"ann/{name}"].files["README.md"].decode()
        (blocks[name],) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
        assert "adaptxfer" not in blocks[name]
    apart = make("stranger").run(PLAIN, json.dumps(blocks))
    assert set(apart) == set(scores) and max(apart.values()) < 1e-5
