from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.sizes import PUBLISHED, config_of, count_sizes, memory_gib

LARGE = "FacebookAI/xlm-roberta-large"


@pytest.mark.parametrize(
    ("model", "millions"),
    [("FacebookAI/xlm-roberta-base", 278), (LARGE, 559), ("facebook/xlm-roberta-xl", 3480),
     ("facebook/xlm-roberta-xxl", 10710)],
)  # fmt: skip
def test_published_shapes_give_the_published_sizes(model: str, millions: int) -> None:
    """Without the pooler, which nothing here uses: one square matrix and its bias."""
    found = count_sizes(PUBLISHED[model], "full", "none")
    pooler = found.width**2 + found.width
    assert (found.base + pooler) / 1e6 == pytest.approx(millions, rel=0.003)
    assert found.training == found.total == found.base


def test_modules_of_xlmr_large() -> None:
    """3.17 M a bottleneck, 0.79 M LoRA r 8 on query and value, 75.5 M a fusion."""
    shape = PUBLISHED[LARGE]
    alone, lora = count_sizes(shape, "bottleneck", "none"), count_sizes(shape, "lora", "none")
    assert (alone.training, lora.training) == (3_171_840, 786_432)
    stack, fuse = count_sizes(shape, "bottleneck", "stack", 1), count_sizes(shape, "bottleneck", "fuse", 3)
    assert stack.training == alone.training and stack.total == stack.base + 2 * alone.training
    assert fuse.training == pytest.approx(75.5e6, rel=1e-3) and fuse.total == fuse.base + 3 * 3_171_840 + fuse.training
    half = count_sizes(shape, "bottleneck", "none", options={"reduction": 32})
    assert half.training < 0.52 * alone.training


def test_a_model_that_is_nowhere(mini_dir) -> None:
    assert config_of(LARGE)["num_hidden_layers"] == 24, "not here, but known"
    assert config_of(str(mini_dir))["hidden_size"] == 256
    with pytest.raises(AdaptxferError):
        config_of("./nowhere")


def test_memory_grows_with_what_it_is_for() -> None:
    frozen = memory_gib(100, 10, 2, 8, "bottleneck", 0, "fp32")
    assert frozen == 0.0, "less than a hundredth"
    some = memory_gib(560 * 10**6, 3 * 10**6, 24, 1024, "bottleneck", 8192, "fp32")
    assert some == pytest.approx((560e6 * 4 + 3e6 * 12 + 8192 * 24 * 13.1 * 1024 * 4) / 2**30, abs=0.01)
    assert memory_gib(560 * 10**6, 3 * 10**6, 24, 1024, "bottleneck", 8192, "bf16") < some
    assert memory_gib(560 * 10**6, 560 * 10**6, 24, 1024, "full", 8192, "fp32") > some + 6
