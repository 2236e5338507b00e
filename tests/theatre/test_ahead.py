import random
from concurrent.futures import ProcessPoolExecutor

import torch

from piying.parallel import cores
from piying.theatre import ahead, casting
from piying.theatre.stage import render

SIZE = (16, 32)
JOBS = [ahead.Job([casting.draw(random.Random(i), "any")], 5) for i in range(6)]


def test_clips_drawn_by_workers_come_in_order_and_are_those_drawn_here(monkeypatch):
    monkeypatch.setattr(cores, "count", lambda: 2)
    clips = list(ahead.draw_ahead(JOBS, SIZE, room=1))
    assert torch.equal(torch.cat(clips), render([scenes[0] for scenes, *_ in JOBS], frames=5, size=SIZE).frames)


def test_a_job_may_ask_for_some_moments_of_its_clips():
    scenes, *_ = JOBS[0]
    pictures = torch.cat(list(ahead.draw_ahead([ahead.Job(scenes, 5, [[4, 1]])], SIZE, room=1)))
    assert torch.equal(pictures, render(scenes, frames=5, size=SIZE).frames[:, [4, 1]])


def test_a_fourth_channel_tells_which_actor_covers_a_pixel():
    clips = torch.cat(list(ahead.draw_ahead(JOBS[:2], SIZE, room=1, masked=True)))
    drawn = render([scenes[0] for scenes, *_ in JOBS[:2]], frames=5, size=SIZE)
    assert torch.equal(clips[..., :3], drawn.frames)
    assert torch.equal(clips[..., 3], drawn.masks)


def test_a_reader_that_stops_early_leaves_no_work_behind(monkeypatch):
    ended = []
    shutdown = ProcessPoolExecutor.shutdown

    def end(self, **how):
        ended.append(how)
        shutdown(self, **how)

    monkeypatch.setattr(cores, "count", lambda: 2)
    monkeypatch.setattr(ProcessPoolExecutor, "shutdown", end)
    clips = ahead.draw_ahead(JOBS, SIZE, room=1)
    del clips
    assert ended == [{"cancel_futures": True}]
