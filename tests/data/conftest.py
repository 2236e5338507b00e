"""Footage that several tests cut."""

import numpy as np
import pytest
from films import film, shot


@pytest.fixture
def footage(tmp_path):
    """Two episodes with one opening; the first ends in a shot of 3 frames, the second is told in two languages."""
    folder = tmp_path / "footage"
    folder.mkdir()
    opening = shot(1, 34)
    film(folder / "ep1.mkv", np.concatenate([opening, shot(2, 40), shot(3, 104), shot(4, 3)]))
    film(folder / "ep2.mkv", np.concatenate([opening, shot(5, 34)]))
    (folder / "ep1.txt").write_text("a boat\n")
    (folder / "ep2.en.txt").write_text("0 - 2.1 titles\n2.1 - 4.3 DaWa runs\n")
    (folder / "ep2.zh.txt").write_bytes("2.1 - 4.3 大娃在跑\n".encode("gb18030"))
    return folder
