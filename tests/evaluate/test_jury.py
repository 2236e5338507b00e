"""Whom a vision model can know again, and which findings count."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from piying.data.dataset import Clip, Dataset, Member
from piying.evaluate import detectors, jury
from piying.evaluate.asks import Ask
from piying.evaluate.jury import Eye, Theatre, hear
from piying.theatre.scene import Actor, Scene
from piying.theatre.stage import render


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
        mark = "1"

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


def test_the_theatre_s_judge_finds_as_many_as_were_told_of():
    """Of a pair of which one child is drawn, and of a scene in which somebody else plays."""
    alone = Scene(actors=(Actor(subject="siwa", colour="green", motion="left"),), backdrop="sea", style="woodcut")
    judge, frames = Theatre(detectors.read()), render([alone]).frames[0].numpy()
    one = judge.see(frames, Ask("", "named", ("dawa",), "token", {"subject": "dawa", "motion": "left"}))
    assert one["cast"] == ["siwa"] and one["motions"] == ["left"]
    assert (one["backdrop"], one["style"]) == ("sea", "woodcut")
    two = judge.see(frames, Ask("", "pair", ("dawa", "siwa"), "token", {"subject": "dawa", "subject2": "siwa"}))
    assert two["cast"] == ["siwa", "nobody"] and len(two["motions"]) == 2
