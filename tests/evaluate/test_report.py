from piying.evaluate.intervals import Estimate, rate
from piying.evaluate.report import Measure, Promise, matrix, show


def test_a_promise_says_its_end_and_its_unit():
    assert str(Promise("motion right", "rate", at_least=0.97)) == "at least 97.0 %"
    assert str(Promise("below the VAE", "dB", at_most=1.5)) == "at most 1.50 dB"
    assert str(Promise("light right", "rate")) == ""


def test_an_estimate_is_shown_with_its_interval():
    assert show(rate(9, 10), "rate") == "90.0 % (59.6 to 98.2, n = 10)"
    assert show(Estimate(0.021, -0.01, 0.05, 40), "points") == "2.1 points (-1.0 to 5.0, n = 40)"


def test_every_judge_that_decides_must_agree():
    promise = Promise("motion right", "rate", at_least=0.97)
    estimates = {"detectors": rate(99, 100), "analytic": rate(90, 100)}
    assert Measure(promise, estimates, {}, ("detectors",)).met
    assert Measure(promise, estimates, {}, ("detectors", "analytic")).met is False
    assert Measure(promise, {}, {}, ()).met is False
    assert Measure(Promise("light right", "rate"), {}, {}, ()).met is None


def test_a_confusion_is_darker_where_more_went_wrong():
    counts = {"small": {"small": 1, "large": 3}, "large": {"small": 0, "large": 4}}
    picture = matrix(counts)
    corner = [(110 + 40 * column + 4, 110 + 40 * row + 4) for row in range(2) for column in range(2)]
    right, wrong, never, always = (picture.getpixel(place) for place in corner)
    assert wrong[1] < 150 < right[0]
    assert never == (255, 255, 255)
    assert always[0] < 60
