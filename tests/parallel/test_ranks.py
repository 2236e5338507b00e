"""Two processes on one machine, as torchrun starts them."""

import os
import socket
import subprocess
import sys

import torch

from piying.parallel import ranks

TOGETHER = """
import sys
import torch
from piying.parallel import ranks
from piying.train.loop import State, train
from piying.train.recipe import OptimizerRecipe

with ranks.together():
    assert ranks.count() == 2 and ranks.share(6) == 3
    torch.manual_seed(0)
    model, inputs, wanted = torch.nn.Linear(6, 1), torch.randn(32, 6), torch.randn(32, 1)
    mine = slice(None) if sys.argv[2] == "same" else slice(ranks.rank(), None, 2)
    state = State(model, OptimizerRecipe(rate=0.02, warmup=1), 8)
    stop = [lambda state, facts: ranks.rank() == 0 and state.step == 5]
    loss = lambda model, batch: ((model(inputs[mine]) - wanted[mine]).square().mean(), {})
    assert not train(state, lambda step: None, loss, stop)
    torch.save((state.step, state.model.state_dict()), f"{sys.argv[1]}/{ranks.rank()}.pt")
"""


LONG = """
import functools, sys, time
from datetime import timedelta
import torch
import torch.distributed as dist
from piying.parallel import ranks

dist.init_process_group = functools.partial(dist.init_process_group, timeout=timedelta(seconds=2))
with ranks.together():
    if ranks.rank() == 0:
        time.sleep(5)
    ranks.wait()
    torch.save(ranks.rank(), f"{sys.argv[1]}/{ranks.rank()}.pt")
"""


def run(folder, what, text=TOGETHER):
    folder.mkdir()
    script = folder / "together.py"
    script.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), what], env={**meeting, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in "01"
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_ranks_take_the_step_that_all_their_samples_ask_for_and_stop_where_the_first_one_does(tmp_path):
    (step, whole), _ = run(tmp_path / "whole", "same")
    (first_step, first), (second_step, second) = run(tmp_path / "halves", "halves")
    assert step == first_step == second_step == 5
    for name, weights in whole.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weights, rtol=1e-5, atol=1e-6)


def test_what_the_first_rank_does_alone_may_take_longer_than_what_all_do(tmp_path):
    assert run(tmp_path / "long", "", LONG) == [0, 1]


def test_a_process_alone_is_the_first_of_one():
    gradient = torch.ones(3)
    ranks.average([gradient])
    assert (ranks.rank(), ranks.count(), ranks.share(5), ranks.lead(True)) == (0, 1, 5, True)
    assert torch.equal(gradient, torch.ones(3))
