import numpy as np

from piying.theatre.sheet import contact_sheet


def clips(count: int) -> list[np.ndarray]:
    return [
        np.full((9, 32, 48, 3), 20 * i, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
        for i in range(count)
    ]


def test_a_sheet_has_a_row_of_evenly_spaced_frames_for_each_clip():
    sheet = np.asarray(contact_sheet(clips(2), ["one", "two"], columns=3))
    for row in range(2):
        for frame in (0, 4, 8):
            assert (sheet == 20 * row + frame).all(-1).sum() == 32 * 48


def test_a_caption_is_written_and_another_caption_looks_different():
    one, two, none = (np.asarray(contact_sheet(clips(1), [text])) for text in ("a red boat", "a blue fish", ""))
    assert one.shape == two.shape == none.shape
    assert (one != none).any() and (one != two).any()


def test_a_chinese_caption_is_taken_on_any_machine():
    assert contact_sheet(clips(1), ["一只红色的小船"]).width > 0
