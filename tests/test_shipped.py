"""The model that ships: diffusers makes the same video of its files, and it makes the video that it made before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import piying
from piying import weights
from piying.evaluate import detectors
from piying.train.tune.rehearsal import member

FOLDER = Path(weights.__file__).parent / "nano"
GOLDEN = Path(__file__).parent / "golden" / "nano.png"
PROMPT = "A red paper boat sails to the left on the sea"


@pytest.fixture(scope="module")
def nano():
    return piying.load("nano")


@pytest.fixture(scope="module")
def short(nano):
    return nano.generate(PROMPT, seed=7, frames=9, steps=4).frames


def test_diffusers_makes_the_same_video_of_the_shipped_files(nano, short):
    from diffusers import CogVideoXImageToVideoPipeline

    class FromTextAlone(CogVideoXImageToVideoPipeline):
        """Zeros stand for no image; diffusers wants one."""

        def prepare_latents(self, image, batch, channels, frames, height, width, dtype, device, generator, latents):
            noise = torch.randn(batch, (frames - 1) // 4 + 1, channels, height // 8, width // 8, generator=generator)
            return noise, torch.zeros_like(noise)

    config = nano.checkpoint.config
    pipeline = FromTextAlone.from_pretrained(FOLDER, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        image=Image.new("RGB", config.size[::-1]),
        prompt=PROMPT,
        height=config.size[0],
        width=config.size[1],
        num_frames=9,
        num_inference_steps=4,
        guidance_scale=config.guidance,
        use_dynamic_cfg=False,
        max_sequence_length=config.transformer.text_tokens,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).frames[0]
    assert np.abs(theirs - short / 255).max() < 1e-4 + 0.5 / 255


def test_the_shipped_weights_make_the_video_they_made_before(short):
    """The golden frames are the first, the fifth and the last, side by side. Processors may round differently."""
    golden = np.asarray(Image.open(GOLDEN)).astype(int)
    made = np.concatenate([short[i] for i in (0, 4, 8)], axis=1).astype(int)
    assert np.abs(made - golden).mean() < 0.5


def test_chinese_and_english_prompts_give_their_own_videos(nano, short):
    chinese = nano.generate("一艘红色的小纸船在海上向左漂", seed=7, frames=9, steps=4).frames
    blue = nano.generate("一艘蓝色的小纸船在海上向左漂", seed=7, frames=9, steps=4).frames
    judge = detectors.read()
    for video, colour in ((short, "red"), (chinese, "red"), (blue, "blue")):
        seen = detectors.look(judge, torch.from_numpy(video.copy())[None])[0]
        assert seen.answers({"subject": "boat", "colour": colour}) == {"subject": "boat", "colour": colour}


def test_what_is_said_of_one_subject_stands_in_its_own_words(nano):
    checkpoint = nano.checkpoint
    prompts = [f"a {one} boat sails while a {other} bird flies" for one, other in (("red", "blue"), ("blue", "red"))]
    tokens = checkpoint.tokenizer(prompts, 64)
    with torch.no_grad():
        states = checkpoint.text(tokens)
    moved = (states[0] - states[1]).norm(dim=1) / states[0].norm(dim=1)
    for noun in ("boat", "bird"):  # 0.01 at most while videos swapped their colours
        (place,) = (tokens[0] == checkpoint.tokenizer([noun], 64)[0, 0]).nonzero()
        assert moved[place] > 0.3


def test_a_first_image_is_where_the_video_begins(nano, tmp_path):
    from piying.theatre import Actor, Scene, render

    scene = Scene(actors=(Actor(subject="balloon", colour="yellow", motion="rise"),), backdrop="meadow", seed=5)
    first = render([scene], frames=49, size=nano.checkpoint.config.size).frames[0, 0].numpy()
    Image.fromarray(first).save(tmp_path / "first.png")
    made = nano.generate("a yellow balloon", seed=1, frames=9, steps=4, image=tmp_path / "first.png").frames[0]
    other = nano.generate("a yellow balloon", seed=1, frames=9, steps=4).frames[0]
    errors = [np.square(frame.astype(float) - first).mean() for frame in (made, other)]
    assert errors[0] < 0.25 * errors[1]


def test_the_shipped_files_fit_the_repository():
    files = [detectors.WEIGHTS, *(path for path in FOLDER.rglob("*") if path.is_file())]
    assert sum(path.stat().st_size for path in files) < 40e6
    assert max(path.stat().st_size for path in files) < 16e6


@torch.no_grad()
def test_names_to_be_taught_are_told_apart_and_leave_room_for_who_does_what(nano):
    """An adapter that hears hardly any difference between names learns looks, and not whose they are; one that hears
    the names alone gives two of them each other's size and robe."""
    names = [member(who).token for who in ("dawa", "erwa", "sanwa", "siwa", "wuwa", "liuwa", "qiwa")]
    known = ["boat", "car", "girl", "boy", "dragon", "horse", "train"]
    text, tokenizer = nano.checkpoint.text, nano.checkpoint.tokenizer

    def states(captions, words):
        """Of the one place where each caption has its word."""
        tokens = tokenizer(captions, 24)
        return text(tokens)[tokens == tokenizer(words, 24)[:, :1]]

    def apart(words):
        found = states([f"a large {word} on a meadow" for word in words], words)
        return (torch.pdist(found) / found.norm(dim=-1).mean()).median()

    def exchanged(words):
        """How much the state of each becomes another where size and motion are those of the other."""
        told = [("small", "sinks", "large", "sways"), ("large", "sways", "small", "sinks")]
        one, other = (
            states([f"a {a} {word} {b} and a {c} bird {d}, on the sea" for word in words], words) for a, b, c, d in told
        )
        return ((one - other).norm(dim=-1) / one.norm(dim=-1)).median()

    assert apart(names) > 0.6 * apart(known)
    assert exchanged(names) > 0.7 * exchanged(known)
