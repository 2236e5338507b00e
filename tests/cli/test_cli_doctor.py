"""`piying doctor`: what it says of this machine, and of machines that it is told about."""

import os

import pytest

from piying.cli import doctor
from piying.config import FAMILY

GB = 10**9


@pytest.fixture
def machine():
    """A report of a machine with these bytes free."""
    return lambda memory, *gpus: {
        "memory": {"total": memory, "free": memory},
        "gpus": [{"name": f"card {number}", "total": free, "free": free} for number, free in enumerate(gpus)],
        "metal": False,
    }


def test_the_report_names_this_machine_and_the_whole_family(piying):
    report = piying("doctor", "--json").json
    assert report["cpu"]["cores"] == len(os.sched_getaffinity(0))
    assert 0 < report["memory"]["free"] <= report["memory"]["total"]
    assert set(report["models"]) == set(FAMILY)
    assert report["gpus"] == []


def test_the_same_is_said_in_words(piying):
    result = piying("doctor")
    assert result.code == 0
    assert all(f"{name}: " in result.out for name in FAMILY)
    assert "GPU: none" in result.out and "no ffmpeg program is needed" in result.out


def test_a_card_is_said_with_what_runs_on_it(machine):
    report = machine(8 * GB, 24 * GB) | {"cpu": {"cores": 2, "threads": 2, "bfloat16": True}, "models": {}}
    report |= {name: "x" for name in ("piying", "python", "torch", "av", "system")}
    report["disk"] = {"free": GB, "folder": "x"}
    report["gpus"][0] |= {"attention": "cuDNN", "triton": False}
    said = "GPU: card 0, 24.0 GB, 24.0 GB free, attention by cuDNN, no kernels in Triton"
    assert said in doctor.describe(report)
    assert not [line for line in doctor.describe(report) if "Metal" in line]
    assert "GPU: Apple's, by Metal, in main memory" in doctor.describe(report | {"gpus": [], "metal": True})


def test_weights_are_counted_as_published():
    """2B: 1.694 B parameters, T5-XXL 4.76 B, VAE 215.6 M, two bytes each."""
    assert doctor.models()["cogvideox-2b"]["weights"] == pytest.approx(2 * (1.694 + 4.762 + 0.2156) * GB, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "memory", "gpus", "says"),
    [
        ("nano", 8 * GB, [], "run on the CPU"),
        ("cogvideox-2b", 32 * GB, [], "without a GPU a video takes days"),
        ("cogvideox-2b", 8 * GB, [], "do not fit here"),
        ("cogvideox-2b", 32 * GB, [8 * GB], "run on card 0;"),  # its text encoder streams
        ("cogvideox-5b", 32 * GB, [8 * GB], "stream through card 0;"),
        ("cogvideox-5b", 32 * GB, [8 * GB, 24 * GB], "run on card 1;"),
        ("cogvideox-5b", 32 * GB, [24 * GB, 24 * GB], "run on card 0 and card 1;"),
        ("cogvideox-5b", 32 * GB, [GB], "are too much for card 0: the usual video takes"),
    ],
)
def test_a_model_runs_where_the_planner_says(machine, name, memory, gpus, says):
    cards = [{"free": room, "triton": True} for room in gpus]
    assert says in doctor.verdict(doctor.models(cards)[name], machine(memory, *gpus))
