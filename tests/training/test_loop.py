"""The loop: what trains, what does not, whose weights win, and how it stops."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from adaptxfer.encoder import load_encoder
from adaptxfer.errors import INTERRUPTED, TRAINING, AdaptxferError
from adaptxfer.modules.heads import build_head
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.training import Steps, TaskData, train
from adaptxfer.training.loop import Learner, evaluation_steps
from tests.tiny import WAYS, arrange, hash_of, save_tiny
from tests.training.toy import OPTIONS, Scores, spec, toy, toy_model, toy_steps


@pytest.mark.parametrize(("method", "how", "own"), WAYS)
def test_what_is_frozen_stays_bit_identical_and_the_rest_moves(tiny_encoder, tmp_path, method, how, own):
    model, trained = toy_model(tiny_encoder, method, how, own)
    frozen = {name: value for name, value in model.state_dict().items() if name not in trained}
    assert bool(frozen) == (method != "full")
    before, moved = hash_of(frozen), {name: value.detach().clone() for name, value in trained.items()}
    result = train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1, 2, 3, 4, 5], trained))
    assert hash_of(frozen) == before
    still = [name for name in trained if torch.equal(trained[name], moved[name])]
    assert not [name for name in still if not name.endswith("key.bias")]  # softmax is blind to the bias of a key
    assert (result.steps, result.best_step, len(result.evaluations)) == (10, 10, 5)
    assert not model.training and result.tokens > 0


def test_same_seed_twice_is_bit_identical_and_another_seed_is_not(tiny_encoder, tmp_path):
    def weights(name, seed):
        torch.manual_seed(len(name))  # global state plays no part
        options = replace(OPTIONS, seed=seed)
        model, trained = toy_model(tiny_encoder)
        train(model, trained, toy_steps(options), options, tmp_path / name, Scores([1, 2, 3, 4, 5], trained))
        return hash_of(trained)

    assert weights("first", 1) == weights("again", 1)
    assert weights("first", 1) != weights("other", 2)


@pytest.mark.parametrize(("method", "learning_rate"), [("full", 3e-3), ("lora", 3e-2)])
def test_it_learns(tiny_encoder, tmp_path, method, learning_rate):
    options = replace(OPTIONS, max_steps=60, learning_rate=learning_rate, batch_size=8, evaluations=1)
    model, trained = toy_model(tiny_encoder, method)
    events = []
    train(model, trained, toy_steps(options), options, tmp_path, Scores([1], trained), events.append)
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_the_best_checkpoint_wins_head_included(tiny_encoder, tmp_path):
    model, trained = toy_model(tiny_encoder, how="fuse")
    score = Scores([10, 50, 30, 50, 20], trained)
    result = train(model, trained, toy_steps(), OPTIONS, tmp_path, score)
    assert (result.best_step, result.best_score) == (4, 50)
    assert hash_of(trained) == score.seen[1]
    assert len(set(score.seen)) == 5 and any(name.startswith("heads.") for name in trained)
    assert [found["step"] for found in result.evaluations] == [2, 4, 6, 8, 10]


def gradients(run, options):
    task, batches = run.steps.at(0, options.batch_tokens)
    loss = run._backward(task, batches)
    found = {name: value.grad.clone() for name, value in run.trained.items()}
    for value in run.trained.values():
        value.grad = None
    return float(loss), found, len(batches)


@pytest.fixture(scope="module")
def still_encoder(tmp_path_factory, mini_dir):
    """A tiny encoder without dropout."""
    from adaptxfer.encoder import load_encoder

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return load_encoder(str(save_tiny(tmp_path_factory.mktemp("still") / "still", mini_dir, **still)))


@pytest.mark.parametrize("kind", ["classify", "choose", "tag", "span"])
def test_cutting_a_batch_does_not_change_its_gradient(still_encoder, tmp_path, kind):
    model, _, trained = arrange(still_encoder, "bottleneck", "fuse", True, spec=spec(kind, dropout=0.0))
    results = []
    for tokens in (10_000, 40):
        options = replace(OPTIONS, batch_size=12, batch_tokens=tokens)
        run = Learner(model, trained, toy_steps(options, kind), options, tmp_path / str(tokens), lambda event: None)
        results.append(gradients(run, options))
    (loss, whole, one), (cut_loss, parts, several) = results
    assert one == 1 and several > 3
    assert loss == pytest.approx(cut_loss, abs=1e-6)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["XLMRoberta", "XLMRobertaXL"])
@pytest.mark.parametrize(("method", "how"), [("bottleneck", "fuse"), ("lora", "stack"), ("full", "none")])
def test_recomputed_activations_give_the_same_gradients(mini_dir, tmp_path, kind, method, how):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = load_encoder(str(save_tiny(tmp_path / "still", mini_dir, kind=kind, **still)))
    results = []
    for recompute in (False, True):
        model, _, trained = arrange(encoder, method, how, spec=spec(dropout=0.0))
        options = replace(OPTIONS, recompute=recompute)
        run = Learner(model.train(), trained, toy_steps(options), options, tmp_path / str(recompute), print)
        calls = []
        model.network.encoder.layer[1].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        results.append(gradients(run, options))
    (loss, kept, pieces), (same, computed, _) = results
    assert len(calls) == 2 * pieces  # the layer ran in the backward pass too
    assert same == pytest.approx(loss, abs=1e-6)
    for name in kept:
        torch.testing.assert_close(computed[name], kept[name], atol=1e-6, rtol=1e-5)


def test_fusion_regulariser_is_in_the_gradient_of_its_own_step(still_encoder, tmp_path):
    model, _, trained = arrange(still_encoder, "bottleneck", "fuse", spec=spec(dropout=0.0))
    values = {name: value for name, value in trained.items() if name.endswith(".value.weight")}
    with torch.no_grad():
        for value in values.values():
            value.add_(torch.randn_like(value) * 0.1)
    run = Learner(model, trained, toy_steps(), OPTIONS, tmp_path, lambda event: None)
    _, (batch,) = run.steps.at(0, 10_000)
    loss = model("goal", batch.ids, batch.bounds, batch.targets) / 4
    penalty = sum(0.01 * (torch.eye(32) - value).square().sum() for value in values.values())
    assert float(penalty.detach()) > 0.1
    expected = torch.autograd.grad(loss + penalty, list(values.values()))
    total, found, _ = gradients(run, replace(OPTIONS, batch_tokens=20))
    assert total == pytest.approx(float((loss + penalty).detach()), abs=1e-5)
    for name, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(found[name], wanted, atol=1e-6, rtol=1e-5)


def test_bf16_keeps_weights_and_the_trained_model_in_fp32(tiny_encoder, tmp_path):
    options = replace(OPTIONS, precision="bf16")
    seen = []

    def score(model):
        with torch.no_grad():
            seen.append(model.network(torch.tensor([[0, 5, 2]])).last_hidden_state)
        return 1.0

    model, trained = toy_model(tiny_encoder)
    before = {name: value.detach().clone() for name, value in trained.items()}
    train(model, trained, toy_steps(options), options, tmp_path, score)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert not any(torch.equal(before[name], trained[name]) for name in trained)
    with torch.no_grad():  # the best is that of the first evaluation, then in bf16, now in fp32
        now = model.network(torch.tensor([[0, 5, 2]])).last_hidden_state
    assert 1e-5 < float((now - seen[0]).abs().max()) < 0.3
    kinds = set()
    model.head("goal").dense.register_forward_hook(lambda _layer, _inputs, output: kinds.add(output.dtype))
    model("goal", torch.tensor([0, 5, 2]), torch.tensor([0, 3]))
    assert kinds == {torch.float32}  # called whole, too: nothing of autocast is left on it


def test_no_gradient_waits_for_the_next_step(tiny_encoder, tmp_path):
    model, trained = toy_model(tiny_encoder, how="fuse")
    waiting = []

    def report(event):
        waiting.extend(name for name, value in model.named_parameters() if value.grad is not None)

    train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1] * 5, trained), report)
    assert not waiting


def test_weights_that_get_no_gradient_are_named(tiny_encoder, tmp_path):
    model, trained = toy_model(tiny_encoder)
    model.method.add("idle", {}, 1)
    trained = model.set_trainable(["goal", "idle"])
    with pytest.raises(AdaptxferError, match=r"8 of 20 weights get no gradient.*idle") as caught:
        train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1] * 5, trained))
    assert caught.value.code == TRAINING


def test_several_tasks_train_in_turn(tiny_encoder, tmp_path):
    model, _ = toy_model(tiny_encoder)
    heads = {name: build_head(spec(kind), 1, name) for name, kind in (("one", "classify"), ("two", "tag"))}
    model = AdaptedModel(model.method, heads)
    trained = model.set_trainable(["goal"])
    tasks = [TaskData("one", toy(), 4, 1), TaskData("two", toy("tag"), 4, 1)]
    events = []
    before = {name: value.detach().clone() for name, value in trained.items()}
    steps = Steps(tasks, np.array([0, 0, 1, 0, 1, 1, 0, 1, 1, 1]))
    train(model, trained, steps, OPTIONS, tmp_path, Scores([1, 2, 3, 4, 5], trained), events.append)
    assert [event["task"] for event in events if event["event"] == "step"] == [task for _, task in steps]
    assert not [name for name in trained if torch.equal(before[name], trained[name])]


def poison(model, step, value):
    """From the report of ``step`` on, the head gives NaN."""

    def report(event):
        if event["event"] == "step" and event["step"] == step:
            with torch.no_grad():
                model.head("goal").out.weight.fill_(value)

    return report


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tiny_encoder, tmp_path):
    model, trained = toy_model(tiny_encoder)
    with pytest.raises(AdaptxferError, match="the loss of step 6 is nan") as caught:
        score = Scores([1, 2, 3, 4, 5], trained)
        train(model, trained, toy_steps(), OPTIONS, tmp_path, score, poison(model, 5, float("nan")))
    assert caught.value.code == TRAINING and "--learning-rate" in caught.value.hint
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000002", "step-00000004"]
    again, weights = toy_model(tiny_encoder)  # what is kept can be used
    result = train(again, weights, toy_steps(), OPTIONS, tmp_path, Scores([3, 4, 5], weights))
    assert result.steps == 10


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tiny_encoder, tmp_path):
    model, trained = toy_model(tiny_encoder)
    next(iter(trained.values())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(AdaptxferError, match="the gradient norm of step 1 is") as caught:
        train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1] * 5, trained))
    assert caught.value.code == TRAINING
    assert all(bool(torch.isfinite(value).all()) for value in trained.values())


def test_a_dev_score_that_is_not_a_number(tiny_encoder, tmp_path):
    model, trained = toy_model(tiny_encoder)
    with pytest.raises(AdaptxferError, match="the dev score of step 4 is nan"):
        train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1, float("nan")], trained))


@pytest.mark.parametrize("on_chance", ["stop", "warn"])
def test_training_that_stays_at_chance(tiny_encoder, tmp_path, monkeypatch, on_chance):
    monkeypatch.setattr("adaptxfer.training.watch.WINDOW", 2)
    options = replace(OPTIONS, learning_rate=1e-9, on_chance=on_chance)
    model, _, trained = arrange(tiny_encoder, "bottleneck", "none", spec=replace(spec(), init_range=1e-6))
    events = []

    def go():
        train(model, trained, toy_steps(), options, tmp_path, Scores([50] * 5, trained), events.append, 50.0)

    if on_chance == "stop":
        with pytest.raises(AdaptxferError, match="at chance level after 6 steps") as caught:
            go()
        assert caught.value.code == TRAINING and "--on-chance warn" in caught.value.hint
        assert (tmp_path / "step-00000004" / "state.json").is_file()
    else:
        go()
        assert any("Still at chance level after 6 steps" in event.get("text", "") for event in events)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_the_same_call_continues_bit_for_bit(tiny_encoder, tmp_path, number):
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    model, trained = toy_model(tiny_encoder)
    train(model, trained, toy_steps(), OPTIONS, tmp_path / "whole", Scores([1, 2, 3, 4, 5], trained))
    whole = hash_of(trained)

    def stop(event):
        if event["event"] == "step" and event["step"] == 3:
            signal.raise_signal(number)

    model, trained = toy_model(tiny_encoder)
    with pytest.raises(AdaptxferError, match="Interrupted after step 3; the checkpoint is saved") as caught:
        train(model, trained, toy_steps(), OPTIONS, tmp_path / "cut", Scores([1, 2], trained), stop)
    assert caught.value.code == INTERRUPTED == 130
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    model, trained = toy_model(tiny_encoder)
    events = []
    train(model, trained, toy_steps(), OPTIONS, tmp_path / "cut", Scores([2, 3, 4, 5], trained), events.append)
    assert events[0] == {"event": "resume", "step": 3, "total": 10}
    assert hash_of(trained) == whole


def test_a_second_ctrl_c_stops_at_once(tiny_encoder, tmp_path):
    def stop(event):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    model, trained = toy_model(tiny_encoder)
    with pytest.raises(KeyboardInterrupt):
        train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1], trained), stop)


def test_ctrl_c_at_the_last_step_stops_too_and_nothing_is_left_to_train(tiny_encoder, tmp_path):
    def stop(event):
        if event["event"] == "step" and event["step"] == 10:
            signal.raise_signal(signal.SIGINT)

    model, trained = toy_model(tiny_encoder)
    with pytest.raises(AdaptxferError) as caught:
        train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1] * 5, trained), stop)
    assert caught.value.code == 130
    events = []
    model, trained = toy_model(tiny_encoder)
    assert train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([], trained), events.append).steps == 10
    assert [event["event"] for event in events] == ["resume"]


@pytest.mark.parametrize(
    ("total", "times", "expected"),
    [(10, 5, {2, 4, 6, 8, 10}), (3, 10, {1, 2, 3}), (1, 10, {1}), (7, 2, {4, 7}), (100, 1, {100})],
)
def test_when_the_dev_set_is_scored(total, times, expected):
    assert evaluation_steps(total, times) == expected
