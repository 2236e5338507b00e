import pytest

from piying.evaluate.placing import Scale


def test_the_area_is_the_share_of_pairs_in_order():
    scale = Scale((0.9, 0.5, 0.4), (0.5, 0.3))
    wins = sum((a > b) + (a == b) / 2 for a in scale.same for b in scale.different)
    assert scale.auc == pytest.approx(wins / 6)
    assert Scale((0.9,), ()).auc is None


def test_the_threshold_parts_what_can_be_parted():
    assert Scale((0.8, 0.9, 0.85, 0.7, 0.2), (0.3, 0.1)).threshold == 0.7


def test_what_cannot_be_parted_has_no_threshold():
    assert Scale((0.8, 0.9, 0.2), (0.3, 0.1)).threshold is None  # an area of 5/6
    assert Scale((0.5, 0.6), (0.7, 0.8, 0.9)).threshold is None
    assert Scale((0.8, 0.9), ()).threshold is None
    assert Scale((), (0.3,)).threshold is None


def test_a_place_is_a_share_of_the_same_pairs():
    scale = Scale((0.2, 0.4, 0.6, 0.8), (0.1,))
    assert [scale.place(score) for score in (0.1, 0.4, 0.9)] == [0, 0.5, 1]
    assert Scale((), ()).place(0.5) is None
