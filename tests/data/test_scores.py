import numpy as np
import pytest
from films import shot
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from piying.data.scores import look, score


def written(picture, text="What shall we do with it now, little brother?", rows=15, place=0.88):
    """With a subtitle, white in a dark outline."""
    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(rows)
    left = (image.width - draw.textlength(text, font=font)) / 2
    draw.text((left, place * image.height - rows / 2), text, "white", font, stroke_width=1, stroke_fill="black")
    return np.asarray(image)


@pytest.fixture
def pictures():
    return list(shot(1, 9, size=(270, 480), step=9))


def test_subtitles_are_found(pictures):
    frames = shot(1, 9)
    assert score(frames, pictures).text == 0
    assert score(frames, [written(picture) for picture in pictures]).text == 1
    some = [written(picture) if 2 <= n < 5 else picture for n, picture in enumerate(pictures)]
    assert score(frames, some).text == round(3 / 9, 2)


def test_subtitles_on_a_bright_ground_are_found(pictures):
    bright = [np.maximum(picture, 150) for picture in pictures]
    assert score(shot(1, 9), bright).text == 0
    assert score(shot(1, 9), [written(picture) for picture in bright]).text == 1


@pytest.mark.parametrize("kind", ["windows", "one row of windows", "fence", "leaves", "snow"])
def test_what_only_has_many_edges_is_no_writing(pictures, kind):
    rng, busy = np.random.default_rng(0), [picture.copy() for picture in pictures]
    for picture in busy:
        if kind == "windows":  # rows of them, far up and down
            picture[:] = (30, 40, 80)
            for y in range(20, 260, 16):
                picture[y : y + 8, 5::14] = picture[y : y + 8, 6::14] = picture[y : y + 8, 7::14] = (250, 240, 160)
        elif kind == "one row of windows":
            picture[200:260] = (30, 40, 80)
            for x in (0, 1, 2):
                picture[225:236, 5 + x :: 14] = (250, 240, 160)
        elif kind == "fence":
            picture[150:, ::8] = picture[150:, 1::8] = 240
        elif kind == "leaves":  # in the sun, and then in the shade of a wave
            coarse = Image.fromarray(np.random.default_rng(6).integers(0, 256, (46, 81), dtype=np.uint8))
            fine = np.asarray(coarse.resize((480, 270), Image.Resampling.BICUBIC))
            shade = 0.4 + 0.6 * np.sin(np.linspace(0, 7, 270)) ** 2
            picture[:] = (np.where(fine > 120, fine, 40) * shade[:, None])[..., None]
        else:
            ys, xs = rng.integers(0, 268, 1200), rng.integers(0, 478, 1200)
            picture[ys, xs] = picture[ys + 1, xs] = picture[ys, xs + 1] = 255
    assert score(shot(1, 9), busy).text == 0


def test_a_blurred_clip_is_less_sharp(pictures):
    frames = np.stack(pictures)
    blurred = np.stack([Image.fromarray(frame).filter(ImageFilter.GaussianBlur(6)) for frame in frames])
    assert score(blurred, pictures).sharpness < 0.2 * score(frames, pictures).sharpness


def test_motion_is_the_mean_change_of_light():
    frames = np.zeros((3, 10, 10, 3), np.uint8)
    frames[1] = 10
    frames[2] = 40
    found = score(frames, [frames[0]])
    assert found.motion == pytest.approx(20, abs=0.01) and found.contrast == 0
    assert score(frames[:1], [frames[0]]).motion == 0


def test_a_look_knows_a_picture_again_at_another_size_and_light():
    picture = shot(1, 1, size=(96, 144))[0]
    small = np.asarray(Image.fromarray(picture).resize((72, 48), Image.Resampling.BOX))
    dim = (0.8 * picture).astype(np.uint8)
    assert (look(picture) != look(small)).sum() < 13 and (look(picture) != look(dim)).sum() < 13
    assert (look(picture) != look(shot(2, 1, size=(96, 144))[0])).sum() > 60


def test_an_even_wall_has_no_look():
    noise = np.random.default_rng(0).integers(120, 124, (96, 144, 3), dtype=np.uint8)
    assert not look(noise).any()
