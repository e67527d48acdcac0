from __future__ import annotations

import pytest

from adaptxfer.data.features import ALIGNED, build_features
from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import KINDS, ClassifyExample


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_no_examples_make_no_features(mini_tokenizer, text, kind, training):
    found = build_features(kind, [], mini_tokenizer, text(), ("A",), training)
    assert found.counts() == {"examples": 0, "units": 0, "sequences": 0, "tokens": 0}
    assert set(found.targets) == set(ALIGNED[kind])


def test_unknown_kind_names_the_nearest(mini_tokenizer, text):
    with pytest.raises(AdaptxferError, match="Did you mean 'classify'"):
        build_features("clasify", [], mini_tokenizer, text())


def test_unknown_label_is_named(mini_tokenizer, text):
    row = ClassifyExample("1", "a", "b", "entailement")
    with pytest.raises(AdaptxferError, match=r"'entailement'.*Did you mean 'entailment'"):
        build_features("classify", [row], mini_tokenizer, text(), ("neutral", "entailment"))


def test_max_length_too_small(mini_tokenizer, text):
    with pytest.raises(AdaptxferError, match="leaves no room"):
        build_features("classify", [], mini_tokenizer, text(max_length=4))


def test_max_length_never_beyond_the_model(mini_tokenizer, text):
    row = ClassifyExample("1", "word " * 2000, None, None)
    assert build_features("classify", [row], mini_tokenizer, text(max_length=4096)).lengths.tolist() == [512]
    assert build_features("classify", [row], mini_tokenizer, text(), max_length=128).lengths.tolist() == [128]
