"""Several runs at once against each by itself: weights, scores, checkpoints, random numbers."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch

from adaptxfer.encoder.together import twin
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.heads import build_head
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.training import TaskData, train
from adaptxfer.training.steps import single_task
from adaptxfer.training.together import Part, train_together
from tests.tiny import fresh, hash_of
from tests.training.toy import OPTIONS, spec, toy

LONG = replace(OPTIONS, max_steps=24, evaluations=3, learning_rate=1e-3)
RUNS = [("classify", 24, 1), ("tag", 30, 1), ("span", 24, 2), ("choose", 21, 1)]
"""Kind, steps and seed of the runs of a group: heads of all kinds, of different lengths."""


def part(network, folder, kind, steps, seed, method="bottleneck", dropout=0.1, **changed):
    """A run of one toy task on a network of its own."""
    options = replace(LONG, **{"max_steps": steps, "seed": seed, **changed})
    made = make_method(method, network)
    made.add("goal", {"dropout": dropout}, seed)
    made.activate(Leaf("goal"))
    head = spec(kind, dropout)
    model = AdaptedModel(made, {"goal": build_head(replace(head, init_range=0.2), seed, "goal")})
    trained = model.set_trainable(["goal"])
    data = single_task(TaskData("goal", toy(kind, seed=seed), options.batch_size, seed), options)
    return Part(model, trained, data, options, folder / f"{kind}-{seed}", Falling(), lambda event: None)


class Falling:
    """A dev score by which the first evaluation is the best."""

    def __init__(self):
        self.value = 50.0

    def __call__(self, model):
        self.value -= 1
        return self.value


def alone(encoder, folder, runs=RUNS, **changed):
    """The weights and results of each run by itself."""
    found = []
    for run in runs:
        own = part(fresh(encoder).network, folder / "alone", *run, **changed)
        result = train(own.model, own.trained, own.steps, own.options, own.folder, own.score, own.report)
        found.append((own, result))
    return found


def group(encoder, folder, runs=RUNS, **changed):
    """The runs as parts on twins of one network."""
    network = fresh(encoder).network
    return [part(twin(network), folder / "together", *run, **changed) for run in runs]


def largest(own, other):
    """The largest difference of a weight.

    A bias under a softmax over other things than labels has no gradient but rounding, which AdamW takes for one: it
    wanders, and changes nothing.
    """
    kind = own.model.head("goal").spec.kind
    idle = {"heads.goal.out.bias"} if kind in ("choose", "span") else set()
    pairs = [(own.trained[name], other.trained[name]) for name in own.trained.keys() - idle]
    return max(float((one - two).detach().abs().max()) for one, two in pairs)


@pytest.fixture(scope="module")
def still_encoder(tmp_path_factory, mini_dir):
    from adaptxfer.encoder import load_encoder
    from tests.tiny import save_tiny

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return load_encoder(str(save_tiny(tmp_path_factory.mktemp("still") / "still", mini_dir, **still)))


@pytest.mark.parametrize("method", ["bottleneck", "lora"])
@pytest.mark.parametrize("dropped", [False, True])
def test_each_learns_what_it_learns_alone(tiny_encoder, still_encoder, tmp_path, method, dropped):
    encoder, options = (tiny_encoder, {}) if dropped else (still_encoder, {"dropout": 0.0})
    expected = alone(encoder, tmp_path, method=method, **options)
    parts, ended = group(encoder, tmp_path, method=method, **options), {}
    frozen = [p for p in parts[0].model.network.parameters() if not p.requires_grad]
    before = hash_of({str(n): p for n, p in enumerate(frozen)})
    train_together(parts, lambda number, result: ended.setdefault(number, result))
    assert list(ended) == [3, 0, 2, 1]  # each as soon as it has no more steps
    for number, (own, result) in enumerate(expected):
        assert largest(parts[number], own) < 1e-5
        same = ("steps", "best_step", "best_score", "tokens", "evaluations")
        assert [getattr(ended[number], key) for key in same] == [getattr(result, key) for key in same]
        assert ended[number].best_step == result.best_step < result.steps
    assert hash_of({str(n): p for n, p in enumerate(frozen)}) == before


def test_seeds_of_one_task_go_together(tiny_encoder, tmp_path):
    runs = [("classify", 20, seed) for seed in (1, 2, 3)]
    expected = alone(tiny_encoder, tmp_path, runs)
    parts = group(tiny_encoder, tmp_path, runs)
    train_together(parts, lambda number, result: None)
    assert all(largest(own, other) < 1e-5 for own, (other, _) in zip(parts, expected, strict=True))
    assert largest(parts[0], parts[1]) > 1e-3


def test_the_bound_on_tokens_holds_for_the_whole_forward_pass(tiny_encoder, tmp_path, monkeypatch):
    runs, changed = [("classify", 3, 1), ("choose", 2, 1), ("tag", 3, 2)], {"batch_tokens": 60}
    expected = alone(tiny_encoder, tmp_path, runs, **changed)
    parts, sizes = group(tiny_encoder, tmp_path, runs, **changed), []
    from adaptxfer.training.together import Together

    encode = Together.encode
    watched = lambda self, chosen, batches, first: (  # noqa: E731
        sizes.append([len(b[0]) for b in batches]) or encode(self, chosen, batches, first)
    )
    monkeypatch.setattr(Together, "encode", watched)
    train_together(parts, lambda number, result: None)
    assert all(sum(wave) <= 60 or len(wave) == 1 for wave in sizes) and any(len(wave) > 1 for wave in sizes)
    assert all(largest(own, other) < 1e-5 for own, (other, _) in zip(parts, expected, strict=True))


def test_one_that_fails_leaves_the_others(tiny_encoder, tmp_path):
    runs = [("classify", 6, 1), ("tag", 6, 1), ("span", 4, 2)]
    expected = alone(tiny_encoder, tmp_path, runs)
    parts, ended = group(tiny_encoder, tmp_path, runs), {}
    broken = parts[1]
    with torch.no_grad():
        next(iter(broken.trained.values())).fill_(float("nan"))
    train_together(parts, lambda number, result: ended.setdefault(number, result))
    assert isinstance(ended[1], AdaptxferError) and "diverged" in ended[1].message and ended[1].code == 3
    assert all(largest(parts[n], expected[n][0]) < 1e-5 for n in (0, 2))


class Kill:
    """Ctrl-C while the dev set is scored."""

    def __init__(self, score):
        self.score = score

    def __call__(self, model):
        os.kill(os.getpid(), signal.SIGINT)
        return self.score(model)


def test_stopped_runs_go_on_where_they_were(tiny_encoder, tmp_path):
    expected = alone(tiny_encoder, tmp_path)
    stopped, ended = group(tiny_encoder, tmp_path), {}
    stopped[2] = replace(stopped[2], score=Kill(stopped[2].score))
    with pytest.raises(AdaptxferError) as caught:
        train_together(stopped, lambda number, result: ended.setdefault(number, result))
    assert caught.value.code == 130 and not ended
    parts, scores = group(tiny_encoder, tmp_path), [own.score for own in stopped]
    parts = [replace(own, score=getattr(score, "score", score)) for own, score in zip(parts, scores, strict=True)]
    rest = [parts[2], parts[0], parts[1]]  # another group, and one of them by itself
    train_together(rest, lambda number, result: ended.setdefault(number, result))
    own = parts[3]
    train(own.model, own.trained, own.steps, own.options, own.folder, own.score, own.report)
    assert all(largest(own, other) < 1e-5 for own, (other, _) in zip(parts, expected, strict=True))


def test_a_run_without_steps_left_is_finished_at_once(tiny_encoder, tmp_path):
    runs = [("classify", 20, 1), ("tag", 20, 1)]
    done = part(fresh(tiny_encoder).network, tmp_path / "together", *runs[0])
    train(done.model, done.trained, done.steps, done.options, done.folder, done.score, done.report)
    parts, ended = group(tiny_encoder, tmp_path, runs), []
    train_together(parts, lambda number, result: ended.append((number, result)))
    assert [number for number, _ in ended] == [0, 1]
    assert largest(parts[0], done) == 0.0 and len(ended[0][1].evaluations) == 3
