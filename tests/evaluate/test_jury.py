"""Whom a vision model can know again, and which findings count."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from piying.data.dataset import Clip, Dataset, Member
from piying.evaluate import jury
from piying.evaluate.asks import Ask
from piying.evaluate.jury import Eye, hear
from piying.parallel import cores


class Colours:
    """Knows what it sees by its mean colour."""

    mark, reads = "1", False

    def clip(self, frames):
        return torch.nn.functional.normalize(torch.tensor(frames.mean((1, 2))).float(), dim=1)

    def pictures(self, pictures):
        return torch.cat([self.clip(picture[None]) for picture in pictures])


@pytest.fixture
def dataset(tmp_path):
    """Red Mia alone in two files, green Tom beside her, blue Ann in one and on two pictures, and red in a sunset."""
    colours = {"mia-0": (250, 9, 9), "mia-1": (240, 20, 9), "both": (120, 120, 9), "ann": (9, 9, 250)}
    colours["sunset"] = (250, 9, 9)
    colours |= {"ann-0": (9, 9, 250), "ann-1": (9, 20, 240)}
    for name, colour in colours.items():
        Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    clips = tuple(
        Clip(id=n, media=f"{n}.png", frames=1, fps=8, size=(16, 16), sha256=n, episode=n, names=names)
        for n, names in (
            ("mia-0", ("mia",)),
            ("mia-1", ("mia",)),
            ("both", ("mia", "tom")),
            ("ann", ("ann",)),
            ("sunset", ()),
        )
    )
    ann = Member(id="ann", token="Ann", references=("ann-0.png", "ann-1.png"))
    return Dataset(tmp_path, clips, (Member(id="mia", token="Mia"), Member(id="tom", token="Tom"), ann))


def test_who_has_neither_a_clip_of_their_own_nor_pictures_cannot_be_known_again(dataset):
    eye = Eye(Colours(), dataset, dataset.clips, ())
    assert eye.knows == {"mia", "ann"}
    blue = np.full((4, 16, 16, 3), (9, 9, 240), np.uint8)
    assert eye.see(blue, Ask("", "named", ("ann",), "token"))["near"] == ["ann"]
    ann = replace(dataset.cast[2], references=("ann-0.png", "both.png"))
    other = Eye(Colours(), replace(dataset, cast=(*dataset.cast[:2], ann)), dataset.clips, ())
    assert other.mark != eye.mark


def test_who_is_not_told_from_others_is_known_to_nobody(dataset):
    """One of whom all footage is, by a model that might see everybody alike."""
    mia = [clip for clip in dataset.clips if clip.names in (("mia",), ())]
    eye = Eye(Colours(), replace(dataset, cast=dataset.cast[:1]), mia, ())
    assert eye.scales["mia"].same and not eye.scales["mia"].different  # a clip without a name may show her as well
    red = np.full((4, 16, 16, 3), (250, 9, 9), np.uint8)
    assert eye.knows == set() and "near" not in eye.see(red, Ask("", "named", ("mia",), "token"))


def test_a_clip_is_looked_at_anew_where_it_or_what_was_asked_for_is_another(tmp_path):
    seen = []

    class Judge:
        mark, slow = "1", False

        def see(self, frames, ask):
            seen.append((int(frames.mean()), ask.prompt))
            return {"found": seen[-1]}

    def look(shade, prompt):
        Image.fromarray(np.full((16, 16, 3), shade, np.uint8)).save(tmp_path / "0000.png")
        ask = Ask(prompt, "named", (), "token")
        return hear({"judge": Judge()}, {0: tmp_path / "0000.png"}, {0: ask}, tmp_path, lambda line: None)[0]["found"]

    assert tuple(look(9, "a")) == tuple(look(9, "a")) == (9, "a") and len(seen) == 1
    assert tuple(look(50, "a")) == (50, "a") and tuple(look(50, "b")) == (50, "b")
    assert tuple(look(9, "a")) == (9, "a") and len(seen) == 3
    assert (tmp_path / jury.SEEN).is_file()


class Slow:
    """Says who looked."""

    mark, slow = "1", True

    def see(self, frames, ask):
        return {"mean": int(frames.mean()), "prompt": ask.prompt, "process": os.getpid()}


@pytest.mark.parametrize("count", [2, 99])
def test_a_slow_judge_looks_in_other_processes_and_each_finding_is_of_its_own_clip(count, tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "count", lambda: count)
    clips, asks = {}, {}
    for number in range(5):
        clips[number] = tmp_path / f"{number}.png"
        Image.fromarray(np.full((16, 16, 3), 9 * number, np.uint8)).save(clips[number])
        asks[number] = Ask(f"prompt {number}", "named", (), "token")
    found = hear({"judge": Slow()}, clips, asks, tmp_path, lambda line: None)
    assert [(fact["mean"], fact["prompt"]) for fact in found.values()] == [(9 * i, f"prompt {i}") for i in range(5)]
    assert os.getpid() not in {fact["process"] for fact in found.values()}
    assert hear({"judge": Slow()}, clips, asks, tmp_path, lambda line: None) == found  # kept, not looked at again
