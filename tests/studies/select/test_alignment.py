"""Translation retrieval as a feature."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.evaluate import Setting
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.studies.select.alignment import find_parallel
from tests.world import open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("parallel"), mini_dir) as made:
        yield made


def test_translations_that_are_the_same_are_found(world) -> None:
    encoder = load_encoder(str(world.root / "tiny"))
    model = AdaptedModel(make_method("full", encoder.network), {}).eval()
    for language in ("de", "sw"):
        twins = [
            {"id": f"{s}{n}", "side": side, "text": f"Number {n * n} is {n}.", "gold": ["c" + str(n)][: s == "q"]}
            for n in range(6)
            for s, side in (("q", "query"), ("c", "candidate"))
        ]
        world.write("twins", "test", language, twins)
    setting = Setting(encoder.tokenizer, world.root / "data", limit=4)
    found = find_parallel(["en", "de", "sw", "ur"], setting, None, 2, "twins", world.options["tasks"])
    assert found is not None and found.languages == ("de", "sw") and found.setting.layers == (2,)
    assert found.accuracy(model) == 100
    bare = replace(found, languages=("de",), setting=replace(found.setting, layers=(0,)))
    assert 0 <= bare.accuracy(model) <= 100


def test_where_there_are_none(world) -> None:
    setting = Setting(None, world.root / "data")
    assert find_parallel(["de"], setting, None, 2, None, world.options["tasks"]) is None
    assert find_parallel(["de"], Setting(None, None), None, 2) is None  # nothing is fetched that was not asked for
    with pytest.raises(AdaptxferError, match="is of kind classify"):
        find_parallel(["de"], setting, None, 2, "weather", world.options["tasks"])
