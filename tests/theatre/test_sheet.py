from itertools import pairwise

import numpy as np

from piying.theatre import sheet
from piying.theatre.sheet import contact_sheet


def clips(count: int) -> list[np.ndarray]:
    return [
        np.full((9, 32, 48, 3), 20 * i, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
        for i in range(count)
    ]


def test_a_sheet_has_a_row_of_evenly_spaced_frames_for_each_clip():
    drawn = np.asarray(contact_sheet(clips(2), ["one", "two"], columns=3))
    for row in range(2):
        for frame in (0, 4, 8):
            assert (drawn == 20 * row + frame).all(-1).sum() == 32 * 48


def test_a_caption_is_written_and_another_caption_looks_different():
    one, two, none = (np.asarray(contact_sheet(clips(1), [text])) for text in ("a red boat", "a blue fish", ""))
    assert one.shape == two.shape == none.shape
    assert (one != none).any() and (one != two).any()


def test_chinese_captions_can_be_read_where_the_machine_has_no_chinese_font(monkeypatch):
    monkeypatch.setattr(sheet, "_CHINESE_FONTS", sheet._CHINESE_FONTS[-1:])
    pictures = [np.asarray(contact_sheet(clips(1), [text])) for text in ("船", "花", "鱼")]
    assert all((one != other).any() for one, other in pairwise(pictures))  # boxes are all alike
