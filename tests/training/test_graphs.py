"""Steps of a fixed shape against ordinary ones; without a GPU they run uncaptured."""

from __future__ import annotations

import contextlib
import itertools
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adaptxfer.encoder import load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.dual import MaskedHead
from adaptxfer.modules.heads import HeadSpec, build_head
from adaptxfer.training import graphs, train
from adaptxfer.training.graphs import GraphLearner, check_graphs, make_learner
from adaptxfer.training.loop import Learner
from adaptxfer.training.steps import Steps, TaskData, single_task
from tests.tiny import arrange, save_tiny
from tests.training.toy import OPTIONS, spec, toy, toy_data, toy_steps

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="runs in 32 bits, uncaptured; benchmarks.gpu compares captured steps on a GPU"
)
KINDS = ("classify", "choose", "tag", "span", "retrieve", "mlm")
# No batch is cut; gradients that are zero but for rounding (of biases under a softmax, say) stay without effect.
OPTIONS = replace(OPTIONS, warmup=0.3, batch_tokens=10_000, epsilon=1e-4)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, mini_dir):
    """Without dropout, which falls differently on batches of other shapes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return load_encoder(str(save_tiny(folder, mini_dir, **rates)))


def rising():
    """A dev score that makes the last weights the best."""
    numbers = itertools.count()
    return lambda _: float(next(numbers))


def made(encoder, kind="classify", method="bottleneck", how="none", dropout=0.0):
    """A model with a head for the kind, and the weights that train."""
    if kind != "mlm":
        model, _, trained = arrange(encoder, method, how, spec=spec(kind, dropout))
        return model, trained
    model, _, _ = arrange(encoder, method, how)
    model.heads["goal"] = MaskedHead(HeadSpec("mlm", 32), model.network.get_input_embeddings().weight)
    return model, model.set_trainable(["goal"])


def run(encoder, folder, monkeypatch, static, kind="classify", method="bottleneck", how="none", options=OPTIONS):
    """Losses of a short run, and the weights it leaves."""
    if static:
        monkeypatch.setattr(graphs, "make_learner", lambda *parts: GraphLearner(*parts, capture=False))
    torch.manual_seed(0)
    model, trained = made(encoder, kind, method, how)
    events = []
    train(model, trained, toy_steps(options, kind), options, folder, rising(), events.append)
    monkeypatch.undo()
    return [e["loss"] for e in events if e["event"] == "step"], {n: p.detach().clone() for n, p in trained.items()}


def assert_same(one, other, within=1e-6):
    assert one[0] == pytest.approx(other[0], rel=within, abs=within)
    for name, weight in one[1].items():
        assert (weight - other[1][name]).norm() <= within * (1 + weight.norm()), name


@pytest.mark.parametrize(
    ("kind", "method", "how"),
    [*((kind, "bottleneck", "none") for kind in KINDS), ("classify", "bottleneck", "fuse"), ("choose", "lora", "none"),
     ("tag", "full", "none")],
)  # fmt: skip
def test_equal_to_ordinary_steps(encoder, tmp_path, monkeypatch, kind, method, how):
    options = replace(OPTIONS, learning_rate=1e-3)
    ordinary = run(encoder, tmp_path / "a", monkeypatch, False, kind, method, how, options)
    static = run(encoder, tmp_path / "b", monkeypatch, True, kind, method, how, options)
    assert len(static[0]) == options.max_steps
    assert_same(static, ordinary, 1e-5 if kind == "retrieve" else 1e-6)  # its cosines are multiplied by 100


class Replayed:
    """A graph that does on the host what was captured."""

    def __init__(self, whole):
        self.replay = whole


@pytest.mark.parametrize("kind", ["classify", "mlm"])
def test_replays_take_the_place_of_steps(encoder, tmp_path, monkeypatch, kind):
    ordinary = run(encoder, tmp_path / "a", monkeypatch, False, kind)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, stand in {
        "Stream": lambda: stream, "current_stream": lambda: stream, "graph_pool_handle": lambda: None,
        "stream": lambda _: contextlib.nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand)
    captured = []

    def capture(self, task, slot):
        captured.append(slot)
        return Replayed(lambda: self._whole(task, slot))

    monkeypatch.setattr(GraphLearner, "_graph", capture)
    monkeypatch.setattr(graphs, "make_learner", GraphLearner)
    replayed = run(encoder, tmp_path / "b", monkeypatch, None, kind)
    assert captured and all(slot.seen > graphs.WARM for slot in captured)
    assert_same(replayed, ordinary)


def test_several_tasks_and_masked_words_in_turn(encoder, tmp_path, monkeypatch):
    options, losses, weights = replace(OPTIONS, learning_rate=1e-3), {}, {}
    tasks = [toy_data(name, kind, options) for name, kind in (("goal", "classify"), ("more", "span"), ("words", "mlm"))]
    for static in (False, True):
        if static:
            monkeypatch.setattr(graphs, "make_learner", lambda *parts: GraphLearner(*parts, capture=False))
        model, _ = made(encoder)
        torch.manual_seed(0)
        model.heads["words"] = MaskedHead(HeadSpec("mlm", 32), model.network.get_input_embeddings().weight)
        model.heads["more"] = build_head(spec("span", 0.0), 1, "more")
        trained, events = model.set_trainable(["goal"]), []
        steps = Steps(tasks, np.array([0, 1, 2, 1, 0, 2, 2, 1, 0, 0]))
        train(model, trained, steps, options, tmp_path / str(static), rising(), events.append)
        losses[static] = [event["loss"] for event in events if event["event"] == "step"]
        weights[static] = {name: weight.detach().clone() for name, weight in trained.items()}
    assert_same((losses[True], weights[True]), (losses[False], weights[False]))


def test_a_step_is_told_while_the_next_one_runs(encoder, tmp_path):
    model, trained = made(encoder)
    events, told = [], []
    learner = GraphLearner(model, trained, toy_steps(OPTIONS), OPTIONS, tmp_path, events.append, capture=False)
    for _ in range(4):  # after the second and the fourth the dev set is scored, which waits
        learner.step()
        told.append([event["step"] for event in events if event["event"] == "step"])
        learner.look(lambda _: 0.5, None, threading.Event())
    assert told == [[], [1], [1, 2], [1, 2, 3]]
    assert learner.progress.step == 4 == len(learner.progress.losses)


def test_steps_in_pieces_are_ordinary_among_the_others(encoder, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "adaptxfer")
    options = replace(OPTIONS, learning_rate=1e-3, batch_tokens=48)
    kinds = []
    run_one = GraphLearner._run
    monkeypatch.setattr(GraphLearner, "_run", lambda self, *a: kinds.append(1) or run_one(self, *a))
    monkeypatch.setattr(graphs, "make_learner", lambda *parts: GraphLearner(*parts, capture=False))
    model, _, trained = arrange(encoder, "bottleneck", "none", spec=spec(dropout=0.0))
    losses = []
    train(model, trained, toy_steps(options), options, tmp_path / "a", rising(),
          lambda e: losses.append(e.get("loss")) if e["event"] == "step" else None)  # fmt: skip
    assert 0 < len(kinds) < options.max_steps and caplog.text.count("cuts in pieces") == 1
    monkeypatch.undo()
    ordinary = run(encoder, tmp_path / "b", monkeypatch, False, options=options)
    assert_same((losses, {n: p.detach() for n, p in trained.items()}), ordinary)


def test_an_interrupted_run_goes_on(encoder, tmp_path, monkeypatch):
    whole = run(encoder, tmp_path / "whole", monkeypatch, True)
    model, _, trained = arrange(encoder, "bottleneck", "none", spec=spec(dropout=0.0))
    first = GraphLearner(model, trained, toy_steps(OPTIONS), OPTIONS, tmp_path / "cut", lambda _: None, capture=False)
    for _ in range(4):
        first.step()
    first.checkpoints.save(first.progress)
    rest = run(encoder, tmp_path / "cut", monkeypatch, True)
    assert rest[0] == pytest.approx(whole[0][4:], abs=1e-6)
    assert all(torch.allclose(weight, whole[1][name], atol=1e-6) for name, weight in rest[1].items())


def test_nan_is_told_and_does_not_reach_the_weights(encoder, tmp_path):
    model, _, trained = arrange(encoder, "bottleneck", "none", spec=spec(dropout=0.0))
    learner = GraphLearner(model, trained, toy_steps(OPTIONS), OPTIONS, tmp_path, lambda _: None, capture=False)
    learner.step()
    before = {name: p.detach().clone() for name, p in trained.items()}
    with torch.no_grad():
        model.network.embeddings.LayerNorm.bias[3] = torch.nan
    learner.step()
    learner.model.network.embeddings.LayerNorm.bias[3] = 0.0  # the step after it is sound again
    with pytest.raises(AdaptxferError, match="loss of step 2 is nan"):
        learner.step()
    assert all(torch.equal(before[name], p) for name, p in trained.items())


class Reads(TorchDispatchMode):
    """Operations that would make the host wait for a device: a number or a shape depends on what is in a tensor."""

    def __init__(self, on_host):
        super().__init__()
        self.found, self.on_host = [], on_host

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_unsafe_index") else ()
        masks = any(index is not None and index.dtype == torch.bool for index in indices)
        unsized = name == "repeat_interleave" and not (kwargs or {}).get("output_size")
        shaped = name in ("nonzero", "masked_select", "_unique2", "unique_dim")
        reads = name == "_local_scalar_dense" and args[0].data_ptr() not in self.on_host
        if masks or unsized or shaped or reads:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("kind", "method", "how"),
    [*((kind, "bottleneck", "none") for kind in KINDS), ("classify", "bottleneck", "fuse"), ("tag", "lora", "stack")],
)
def test_no_step_waits_for_the_device(encoder, tmp_path, kind, method, how):
    model, trained = made(encoder, kind, method, how, dropout=0.1)
    steps = toy_steps(OPTIONS, kind)
    learner = GraphLearner(model, trained, steps, OPTIONS, tmp_path, lambda _: None, capture=False)
    learner.step()
    slot = next(iter(learner.slots.values()))
    with Reads(
        {value.data_ptr() for name, value in slot.batch.targets.items() if name in ("lengths", "longest")}
    ) as seen:
        learner._whole("goal", slot)
    assert seen.found == []
    with Reads(set()) as ordinary:  # the check sees what it looks for
        learner._backward("goal", steps.at(0, 10_000)[1])
    assert ordinary.found


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_capture_that_fails_costs_no_run_that_did_not_ask_for_it(encoder, tmp_path, monkeypatch, caplog, mode):
    def broken(*_):
        raise RuntimeError("operation not permitted\nmore")

    monkeypatch.setattr(graphs, "WARM", 0)
    monkeypatch.setattr(GraphLearner, "_graph", broken)
    model, _, trained = arrange(encoder, "bottleneck", "none", spec=spec())
    options = replace(OPTIONS, graphs=mode)
    learner = GraphLearner(model, trained, toy_steps(OPTIONS), options, tmp_path, lambda _: None, capture=False)
    learner.capture = True
    if mode == "on":
        with pytest.raises(AdaptxferError, match="captured as a CUDA graph: operation not permitted"):
            learner.step()
        return
    learner.step()
    learner.step()
    assert learner.progress.step == 2 and caplog.text.count("operation not permitted") == 1


def test_without_a_gpu(encoder, tmp_path):
    model, _, trained = arrange(encoder, "bottleneck", "none", spec=spec())
    steps = single_task(TaskData("goal", toy(), 4, 1), OPTIONS)
    for mode in ("auto", "off"):
        options = replace(OPTIONS, graphs=mode)
        check_graphs(options)
        learner = make_learner(model, trained, steps, options, tmp_path, lambda _: None)
        assert type(learner) is Learner
    options = replace(OPTIONS, graphs="on")
    with pytest.raises(AdaptxferError, match="there is no CUDA device"):
        check_graphs(options)
    with pytest.raises(AdaptxferError, match="there is no CUDA device"):
        make_learner(model, trained, steps, options, tmp_path, lambda _: None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_gpu_would_be_refused_for(encoder, tmp_path, monkeypatch, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options = replace(OPTIONS, graphs="on", precision=precision)
    if precision == "fp32":
        with pytest.raises(AdaptxferError, match="--precision bf16"):
            check_graphs(options)
        return
    check_graphs(options)
    monkeypatch.setattr(graphs, "lower", lambda _: "it is gated")
    model, _, trained = arrange(encoder, "bottleneck", "none", spec=spec())
    with pytest.raises(AdaptxferError, match=r"does not cover this network \(it is gated\)"):
        make_learner(model, trained, toy_steps(OPTIONS), options, tmp_path, lambda _: None)
