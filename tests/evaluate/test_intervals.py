import math
import random

import pytest

from piying.errors import UsageError
from piying.evaluate.intervals import clustered, difference, mean, paired, rate, student


def test_wilson_gives_the_published_intervals():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    for successes, trials, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        found = rate(successes, trials)
        assert found.value == successes / trials
        assert found.low == pytest.approx(low, abs=5e-5)
        assert found.high == pytest.approx(high, abs=5e-5)


def test_a_difference_gives_the_published_interval():
    # Newcombe 1998, "Interval estimation for the difference between independent proportions", table II, method 10
    found = difference(rate(56, 70), rate(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    draws = random.Random(0)
    covered = 0
    for _ in range(4000):
        found = rate(sum(draws.random() < 0.9 for _ in range(40)), 40)
        covered += found.low <= 0.9 <= found.high
    assert 0.93 <= covered / 4000 <= 0.98


def test_a_mean_has_student_s_interval():
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5 and found.trials == 4
    assert found.high - found.value == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_a_mean_over_groups_is_that_of_their_means():
    found, alone = mean([1.0, 1.2, 3.0, 3.2, 5.0], [0, 0, 1, 1, 2]), mean([1.1, 3.1, 5.0])
    assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert found.trials == 5


def test_student_s_quantiles_are_the_tabled_ones():
    # scipy.stats.t.ppf(0.975, freedom)
    tabled = {1: 12.706205, 2: 4.302653, 3: 3.182446, 5: 2.570582, 10: 2.228139, 30: 2.042272, 100: 1.983972}
    for freedom, quantile in tabled.items():
        assert student(freedom) == pytest.approx(quantile, abs=1e-6)
    assert student(999) == pytest.approx(1.962341, abs=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_an_impossible_rate_is_refused(successes, trials):
    with pytest.raises(UsageError, match=f"{successes} of {trials}"):
        rate(successes, trials)


def test_trials_that_come_alone_are_as_many_as_they_are():
    assert clustered([[True]] * 7 + [[False]] * 3) == rate(7, 10)


def test_groups_that_agree_within_themselves_are_one_trial_each():
    found, alone = clustered([[True] * 5] * 6), rate(6, 6)
    assert found.trials == 30 and (found.value, found.low, found.high) == (alone.value, alone.low, alone.high)
    found, alone = clustered([[True] * 5] * 6 + [[False] * 5] * 5), rate(6, 11)
    assert found.value == alone.value and alone.low - 0.05 < found.low < alone.low < alone.high < found.high


def test_groups_that_are_more_even_than_chance_count_no_more_than_their_trials():
    found, alone = clustered([[True, False]] * 40 + [[True, True]]), rate(42, 82)
    assert found.value == alone.value and found.low == pytest.approx(alone.low, abs=5e-3)
    assert clustered([[True, False]] * 10).low == rate(5, 10).low  # nothing tells how alike those of a group are


@pytest.mark.parametrize(("groups", "size", "share"), [(2, 10, 0.7), (4, 5, 0.7), (8, 10, 0.9), (10, 4, 0.9)])
def test_an_interval_of_few_groups_covers_the_truth(groups, size, share):
    """Groups that share half of their variance."""
    draws, covered = random.Random(0), 0
    for _ in range(1000):
        chances = [draws.betavariate(share, 1 - share) for _ in range(groups)]
        found = clustered([[draws.random() < chance for _ in range(size)] for chance in chances])
        covered += found.low <= share <= found.high
    assert covered / 1000 > 0.89


def test_an_interval_of_hundreds_of_pairs_is_that_of_independent_ones():
    draws = random.Random(0)
    pairs = [[draws.random() < 0.9 for _ in range(2)] for _ in range(500)]
    found, alone = clustered(pairs), rate(sum(map(sum, pairs)), 1000)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=2e-3)


def test_a_difference_within_groups_covers_the_truth_and_is_narrower_than_of_independent_rates():
    draws, covered, narrower = random.Random(0), 0, 0
    for _ in range(1000):
        chances = [draws.betavariate(0.7, 0.3) for _ in range(10)]
        a, b = ([[draws.random() < chance for _ in range(4)] for chance in chances] for _ in range(2))
        found, apart = paired(a, b), difference(clustered(a), clustered(b))
        covered += found.low <= 0 <= found.high
        narrower += found.high - found.low < apart.high - apart.low
    assert 0.93 < covered / 1000 < 0.98 and narrower > 900
    alike = [[True] * 4] * 10
    assert paired(alike, alike).low < -0.2 and paired(alike, alike).high > 0.2
