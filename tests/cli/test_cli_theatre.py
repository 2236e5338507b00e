"""`piying theatre sample`, `train-nano` and `evaluate`, as far as a moment reaches; their own tests go deeper."""

import pytest
from PIL import Image


def test_a_sheet_shows_clips_with_their_captions(piying, tmp_path):
    told = piying("theatre", "sample", "--seed", 3, "--count", 2, "--language", "zh", "--out", "a.png", "--json")
    assert told.code == 0 and told.json["sheet"] == "a.png"
    assert len(told.json["captions"]) == 2 and not any(caption.isascii() for caption in told.json["captions"])
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.height > 2 * 96


def test_one_seed_draws_one_sheet(piying, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert piying("theatre", "sample", "--seed", seed, "--count", 1, "--out", f"{name}.png").code == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["theatre", "sample", "--count", "0"], "count"),
        (["theatre", "sample", "--language", "fr"], "language"),
        (["theatre", "sample", "--out", "sheet.jpg"], "ends in .png"),
        (["theatre", "sample", "--out", "nowhere/sheet.png"], "nowhere does not exist"),
        (["theatre"], "command"),
        (["train-nano", "--stage", "dance"], "stage=dance: use vae, text, transformer"),
        (["train-nano", "--set", "vae.sparkle=1"], "vae.sparkle"),
        (["train-nano", "--recipe", "missing.toml"], "missing.toml"),
        (["train-nano", "--device", "abacus"], "device=abacus: this machine has cpu"),
        (["evaluate", "--prompts", "0"], "prompts"),
        (["evaluate", "--device", "abacus"], "device=abacus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused_in_one_line(piying, tmp_path, arguments, says):
    result = piying(*arguments)
    assert result.code == 2
    assert result.err.startswith("piying: ") and says in result.err
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
