"""The statistics core against published figures, closed forms and other ways to compute the same."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from adaptxfer.studies.stats import bootstrap, correction, correlation, estimate, order, seeds, trend

rng = np.random.default_rng


def test_spearman_equals_scipy_and_its_p_is_that_of_all_orders() -> None:
    x, y = rng(0).normal(size=(2, 7))
    found = correlation.spearman(x, y, 20_000)
    reference = stats.spearmanr(x, y)
    orders = np.array(list(itertools.permutations(stats.rankdata(x))))
    every = stats.zscore(orders, axis=1) @ stats.zscore(stats.rankdata(y)) / 7
    exact = np.mean(np.abs(every) >= abs(reference.statistic) - 1e-9)
    assert found.value == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found.n_units == 7


@pytest.mark.parametrize(("n", "low", "high"), [(11, -0.02, 0.89), (20, 0.20, 0.83)])
def test_interval_of_an_observed_correlation(n: int, low: float, high: float) -> None:
    assert correlation.fisher_interval(0.6, n, 1.06) == pytest.approx((low, high), abs=0.005)


def test_within_target_of_one_target_is_spearman() -> None:
    x, y = rng(1).normal(size=(2, 9))
    one, other = correlation.within_target(x, y[None]), correlation.spearman(x, y)
    assert (one.value, one.p) == pytest.approx((other.value, other.p))


def test_constant_metric_has_no_correlation() -> None:
    assert math.isnan(correlation.spearman(np.ones(8), np.arange(8.0)).p)


def test_repeated_measures_take_out_levels() -> None:
    """Within each subject the sign is positive, between subjects negative."""
    subject = np.repeat(np.arange(8), 6)
    noise = rng(2).normal(size=(3, 48))
    x = noise[0] - 4 * subject
    y = noise[0] + 0.5 * noise[1] + 4 * subject
    found = correlation.repeated_measures(x, y, subject)
    assert stats.pearsonr(x, y)[0] < -0.5 < 0.5 < found.value
    # the same number from an analysis of covariance: sums of squares with and without x
    dummies = (subject[:, None] == np.arange(8)).astype(float)
    full = np.linalg.lstsq(np.c_[dummies, x], y, rcond=None)
    less = np.linalg.lstsq(dummies, y, rcond=None)
    assert found.value**2 == pytest.approx(1 - full[1][0] / less[1][0])
    f = (less[1][0] - full[1][0]) / (full[1][0] / (48 - 9))
    assert found.p == pytest.approx(stats.f.sf(f, 1, 39))
    assert found.n_units == 8


def test_partial_out_removes_a_common_trend() -> None:
    steps = np.log(np.arange(1, 200.0))
    a, b = steps + 0.1 * rng(3).normal(size=(2, 199))
    left = [correlation.partial_out(v, steps) for v in (a, b)]
    assert stats.pearsonr(a, b)[0] > 0.9 > 0.2 > abs(stats.pearsonr(*left)[0])


def test_williams_holds_its_level_and_finds_a_difference() -> None:
    def rate(a: float, b: float) -> float:
        hits = 0
        for seed in range(400):
            y, e1, e2 = rng(seed).normal(size=(3, 30))
            m1, m2 = a * y + e1, b * y + e2
            r = np.corrcoef([y, m1, m2])
            hits += correlation.compare_dependent(r[0, 1], r[0, 2], r[1, 2], 30).p < 0.05
        return hits / 400

    assert rate(0.7, 0.7) < 0.08
    assert rate(2.0, 0.3) > 0.9


def test_zou_interval_covers() -> None:
    truth = 1.5 / math.sqrt(1 + 1.5**2) - 0.5 / math.sqrt(1 + 0.5**2)
    inside = 0
    for seed in range(400):
        y, e1, e2 = rng(seed).normal(size=(3, 40))
        r = np.corrcoef([y, 1.5 * y + e1, 0.5 * y + e2])
        found = correlation.compare_dependent(r[0, 1], r[0, 2], r[1, 2], 40)
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_corrections_by_hand() -> None:
    p = [0.01, 0.04, float("nan"), 0.03, 0.005]
    np.testing.assert_allclose(correction.holm(p), [0.03, 0.06, np.nan, 0.06, 0.02])
    np.testing.assert_allclose(correction.benjamini_hochberg(p), [0.02, 0.04, np.nan, 0.04, 0.02])
    assert not len(correction.holm([]))
    known = rng(4).uniform(size=50)
    np.testing.assert_allclose(correction.benjamini_hochberg(known), stats.false_discovery_control(known))


@pytest.mark.parametrize(("n", "p"), [(3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_sign_flip_cannot_be_smaller_than_the_seeds_allow(n: int, p: float) -> None:
    assert seeds.sign_flip(np.arange(1.0, n + 1)).p == pytest.approx(p)


def test_one_pooled_spread_is_students_t() -> None:
    x = rng(5).normal(0.5, 1, 6)
    spread = seeds.Spread(x.var(ddof=1), 5).over(6)
    found, reference = seeds.t_interval(x.mean(), [spread], 6), stats.ttest_1samp(x, 0)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_shared_baseline_costs_degrees_of_freedom() -> None:
    """The variance of the pooled variance over worlds gives the degrees of freedom that are claimed."""
    found = []
    for seed in range(4000):
        score = rng(seed).normal(size=(11, 3))
        found.append(seeds.paired_spread(list(score[1:] - score[0])))
    variances = np.array([f.variance for f in found])
    assert variances.mean() == pytest.approx(2, rel=0.03)
    assert 2 * variances.mean() ** 2 / variances.var() == pytest.approx(found[0].df, rel=0.1)
    assert seeds.paired_spread([np.array([1.0, 2, 4])]).df == 2


def test_no_interval_without_a_seed_variance() -> None:
    found = seeds.t_interval(1.0, [seeds.paired_spread([np.array([1.0])])], 1)
    assert math.isnan(found.p) and math.isnan(found.low)


def test_equivalence_is_the_ninety_percent_interval() -> None:
    spread = seeds.Spread(0.04, 20)
    reach = stats.t.ppf(0.95, 20) * 0.2
    assert seeds.equivalence(0.1, [spread], 0.1 + reach) == pytest.approx(0.05)
    assert seeds.equivalence(0.1, [spread], 1.0) < 0.05 < seeds.equivalence(0.9, [spread], 1.0)


def test_prediction_interval_covers_new_tasks() -> None:
    inside = mean_inside = 0
    for seed in range(500):
        generator = rng(seed)
        truth = generator.normal(1, 1.5, 9)
        found = seeds.prediction_interval(truth[:8] + generator.normal(0, 0.4, 8), np.full(8, 0.16))
        inside += found.low <= truth[8] <= found.high
        mean_inside += found.mean.low <= 1 <= found.mean.high
    assert 0.92 <= inside / 500 <= 0.98
    assert 0.92 <= mean_inside / 500 <= 0.98
    assert not seeds.prediction_interval(np.ones(4), np.ones(4)).reliable


def tally(scores: np.ndarray, clusters: list[str]) -> bootstrap.ClusterSums:
    made = bootstrap.Tally(*scores.shape[:2])
    for r, k in np.ndindex(*scores.shape[:2]):
        made.add(r, k, clusters, scores[r, k], np.ones(scores.shape[2]))
    return made.sums()


def test_bootstrap_variance_of_a_mean() -> None:
    scores = rng(6).integers(0, 2, (2, 3, 400)).astype(float)
    sums = tally(scores, [str(i) for i in range(400)])
    found = bootstrap.resample(sums, np.array([[1.0], [-1.0]]), 4000)
    difference = 100 * (scores[0] - scores[1])
    np.testing.assert_allclose(found.effects[0], difference.mean(1), atol=1e-4)
    np.testing.assert_allclose(found.variance[0], difference.var(1) / 400, rtol=0.12)
    assert found.spread(0).variance == pytest.approx(difference.mean(0).var() / 400, rel=0.12)
    assert found.spread(0).df == 399


def test_languages_are_drawn_jointly() -> None:
    """Equal items in two languages: the mean over them is as uncertain as one, not half as variable."""
    one = rng(7).integers(0, 2, (2, 1, 300)).astype(float)
    sums = tally(np.repeat(one, 2, axis=1), [str(i) for i in range(300)])
    found = bootstrap.resample(sums, np.array([[1.0], [-1.0]]), 4000)
    assert found.spread(0).variance == pytest.approx(found.spread(0, 0).variance, rel=1e-3)


def test_ratios_are_recomputed_from_counts() -> None:
    """F1 with denominators that differ between systems, against a plain loop over the same draws."""
    generator = rng(8)
    above, below = generator.integers(0, 4, (30, 2, 2)), generator.integers(4, 9, (30, 2, 2))
    sums = bootstrap.ClusterSums(above.astype(np.float32), below.astype(np.float32))
    weights = np.array([[1.0], [-1.0]])
    (draws,) = bootstrap.contrast_draws(sums, weights, 50, 3)
    (counts,) = bootstrap._counts(30, 50, 3, None)
    for count, draw in zip(counts, draws, strict=True):
        chosen = np.repeat(np.arange(30), count.astype(int))
        f1 = 100 * above[chosen].sum(0) / below[chosen].sum(0)
        np.testing.assert_allclose(draw[0], f1[0] - f1[1], rtol=1e-4, atol=1e-3)


def test_blocks_and_strata() -> None:
    strata = np.array([0] * 5 + [1] * 15)
    blocks = list(bootstrap._counts(20, 300_000, 0, strata))
    assert len(blocks) > 1 and sum(map(len, blocks)) == 300_000
    assert (blocks[0][:, :5].sum(1) == 5).all() and (blocks[0][:, 5:].sum(1) == 15).all()


def test_clusters_widen_the_interval() -> None:
    level = np.repeat(rng(9).normal(0, 1, 40), 10)
    scores = np.stack([level + rng(10).normal(0, 1, 400), np.zeros(400)])[:, None]
    weights = np.array([[1.0], [-1.0]])
    widths = [
        np.diff(bootstrap.resample(tally(scores, names), weights, 3000).interval(0))[0]
        for names in ([str(i) for i in range(400)], [str(i // 10) for i in range(400)])
    ]
    assert widths[1] > 1.8 * widths[0]


def test_order_of_separate_and_equal_samples() -> None:
    low, high = np.array([1.0, 2, 3]), np.array([11.0, 12, 13, 14])
    assert order.violation(high, low) == 0 and order.violation(low, high) == 1
    worse, better = np.arange(5.0), np.arange(10.0, 16)
    assert order.order_bound(better, worse) < order.THRESHOLD < order.order_bound(worse, better)
    assert order.order_bound(worse, worse) > order.THRESHOLD
    assert math.isnan(order.order_bound(high, low))
    a, b = rng(11).normal(size=4), rng(12).normal(size=7)
    t = (np.arange(28_000) + 0.5) / 28_000
    gap = np.sort(a)[(t * 4).astype(int)] - np.sort(b)[(t * 7).astype(int)]
    assert order.violation(a, b) == pytest.approx((gap**2)[gap < 0].sum() / (gap**2).sum())


def test_slope_is_linear_regression_and_families_have_their_level() -> None:
    x, y = rng(13).normal(size=(2, 6))
    found, reference = trend.slope(x, y), stats.linregress(x, y)
    assert (found.value, found.p) == pytest.approx((reference.slope, reference.pvalue))
    twice = trend.slope(np.r_[x, x], np.r_[2 * x, 2 * x + 50], ["a"] * 6 + ["b"] * 6)
    assert twice.value == pytest.approx(2) and twice.n_units == 12


def test_verdicts() -> None:
    def known(value: float, p: float, n: int = 9, half: float = 0.5) -> estimate.Estimate:
        return estimate.Estimate(value, value - half, value + half, p, n)

    assert estimate.verdict(known(1, 0.01), 3) == "supported"
    assert estimate.verdict(known(-1, 0.01), 3) == "contradicted"
    assert estimate.verdict(known(1, 0.01), 3, p=0.2) == "inconclusive"
    assert estimate.verdict(known(1, 0.2, half=3), 3, relevant=1) == "underpowered"
    assert estimate.verdict(known(1, 0.01, n=2), 3) == "descriptive"
    assert estimate.correlation_verdict(known(0.5, 0.2, n=11)) == "underpowered"
    assert estimate.correlation_verdict(known(0.5, 0.2, n=25)) == "inconclusive"
    assert estimate.correlation_verdict(known(0.9, 0.01, n=6)) == "descriptive"


def test_reliability_is_the_share_of_variance_between_units() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(0, 2, (4000, 1)) + generator.normal(0, 1, (4000, 3))
    assert correlation.reliability(values) == pytest.approx(0.8, abs=0.02)
    assert correlation.reliability(generator.normal(size=(4000, 3))) < 0.05
    assert math.isnan(correlation.reliability(np.ones((3, 2))))


def test_a_mixed_model_of_crossed_factors() -> None:
    pytest.importorskip("statsmodels")
    from adaptxfer.studies.stats.mixed import mixed_slope

    generator = np.random.default_rng(1)
    x = generator.normal(size=12)
    values = 1.5 * x + generator.normal(0, 0.5, 12) + generator.normal(0, 3, (8, 1)) + generator.normal(0, 0.3, (8, 12))
    factors = {
        "unit": [str(i) for _ in range(8) for i in range(12)],
        "row": [str(t) for t in range(8) for _ in range(12)],
    }
    found = mixed_slope(values.ravel(), np.tile(x, 8), factors, "unit")
    assert found.value == pytest.approx(1.5, abs=0.4) and found.p < 0.01 and found.n_units == 12
    assert found.half_width == pytest.approx(2.228 * found.error, rel=0.01)  # t with 10 degrees of freedom
