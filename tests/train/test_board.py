import sys
from types import SimpleNamespace

from piying.train.hooks import Event
from piying.train.tune.board import board

EVENT = Event("train", 7, 10, {"held out v at +0": 0.5})


def test_numbers_become_curves_and_what_was_undone_is_hidden(monkeypatch, tmp_path):
    written, heard = [], []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    board(tmp_path, 5, heard.append)(EVENT)
    assert written == [(str(tmp_path), 6), ("train/held_out_v_at_+0", 0.5, 7)] and heard == [EVENT]


def test_without_tensorboard_the_listener_stays_what_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert board(tmp_path, 0, print) is print
