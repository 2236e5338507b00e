"""A rank that dies or fails ends the run soon, in one line that names it, and nothing is left running."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import loads
import pytest
import torch
import torch.distributed as dist

import piying
from piying.errors import OutOfMemory, PiyingError, UsageError
from piying.generate import Model
from piying.parallel.crew import Crew, cards
from piying.parallel.shared import shared
from piying.request import Request

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
CPUS = [torch.device("cpu")] * 2
LONG = Request(prompt="a red boat", seed=1, steps=1000)


def others(of=None):
    """The processes of other ranks that a process has, by default this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == (of or os.getpid()) and b"piying.parallel.worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return sorted(found)


def alive(pid):
    """Whether a process is there and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert others() == [] and not dist.is_initialized()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("needs 2 GPUs")
    return request.param


@pytest.mark.parametrize("count", [2, 4])
def test_a_rank_that_is_killed_ends_the_run(model_folder, device, count):
    if device == "cuda" and torch.cuda.device_count() < count:
        pytest.skip(f"needs {count} GPUs")
    with piying.load(model_folder, device=device, gpus=count) as model:
        began = None
        with pytest.raises(
            PiyingError, match=rf"^rank {count - 1} of {count} \({device}.*\) was killed by SIGKILL: "
        ) as told:
            for step in model.stream(LONG):
                if step.step == 3:
                    began = time.monotonic()
                    threading.Timer(0.05, os.kill, (others()[-1], signal.SIGKILL)).start()  # in the midst of a step
        assert began and time.monotonic() - began < 30
        assert "\n" not in str(told.value) and told.value.exit_code == 1
        assert others() == []
        with pytest.raises(PiyingError, match="was killed by SIGKILL"):
            model.generate("a red boat")


def test_a_rank_that_dies_between_two_calls_is_told_at_the_next(model_folder):
    with piying.load(model_folder, device="cpu", gpus=2) as model:
        stream = model.stream(LONG)
        next(stream)
        os.kill(others()[0], signal.SIGKILL)
        time.sleep(0.2)
        with pytest.raises(PiyingError, match=r"rank 1 of 2 \(cpu\) was killed"):
            next(stream)


@pytest.mark.parametrize(
    ("load", "kind", "said"),
    [
        (loads.out_of_memory, OutOfMemory, r"rank 1 of 2 \(cpu\): does not fit into its memory: use fewer frames"),
        (loads.refused, PiyingError, r"rank 1 of 2 \(cpu\): the file is gone"),
        (loads.killed, PiyingError, r"rank 1 of 2 \(cpu\) was killed by SIGKILL"),
    ],
)
def test_a_rank_that_cannot_load_the_model_is_told(model_folder, load, kind, said):
    with pytest.raises(kind, match=said):
        Crew(CPUS, partial(load, model_folder))


def test_a_rank_that_runs_out_of_memory_in_a_step_is_told(model_folder):
    crew = Crew(CPUS, partial(loads.fails_in_a_step, model_folder))
    steps = Model(shared(crew), "nano", crew=crew).stream(LONG)
    next(steps)
    with pytest.raises(OutOfMemory, match=r"rank 1 of 2 \(cpu\): does not fit into its memory"):
        next(steps)


def test_an_error_of_rank_0_is_told_as_it_is_and_ends_the_others(model_folder):
    with piying.load(model_folder, device="cpu", gpus=2) as model:
        with pytest.raises(TypeError, match="positional arguments"):
            model.crew.run("encode_text", torch.zeros(2, 8, dtype=torch.long), here=("one too many",))
        with pytest.raises(PiyingError, match="the model is closed: load it again"):
            model.generate("a red boat")


def test_a_model_that_is_not_there_starts_nothing(tmp_path):
    with pytest.raises(PiyingError, match="nowhere"):
        piying.load(tmp_path / "nowhere", device="cpu", gpus=2)


def test_a_model_that_nobody_holds_any_more_lets_its_ranks_go(model_folder):
    model = piying.load(model_folder, device="cpu", gpus=2)
    assert len(others()) == 1
    del model
    assert others() == []


def test_several_gpus_are_asked_for_in_one_clear_line(model_folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for count in (0, 3, -1, 8):
        with pytest.raises(UsageError, match=f"^gpus={count}: use 1, 2 or 4$"):
            cards(count, None)
    with pytest.raises(UsageError, match=r"^gpus=4: this machine has 2$"):
        cards(4, None)
    with pytest.raises(UsageError, match=r"^device=cuda:1, gpus=2: "):
        cards(2, "cuda:1")
    assert [str(place) for place in cards(2, None)] == ["cuda:0", "cuda:1"]
    with (
        piying.load(model_folder, device="cpu", gpus=2),
        pytest.raises(UsageError, match="gpus=2: this process is at work with others already"),
    ):
        cards(2, "cpu")


ON_CPUS = (
    "import sys; from functools import partial\n"
    "import piying; from piying.cli import run; from piying.generate import load\n"
    "piying.load = partial(load, device='cpu')\n"
    "sys.exit(run(sys.argv[1:]))"
)


def start(*arguments, folder):
    """The command line with processes in the place of GPUs."""
    command = [sys.executable, "-c", ON_CPUS, "generate", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_rank_ends_the_command_and_the_state_goes_on_without_it(model_folder, tmp_path):
    asked = ["a red boat", "--model", model_folder, "--seed", 7, "--steps", 200, "--out", "boat.mp4"]
    run = start(*asked, "--gpus", 2, "--save-every", 2, folder=tmp_path)
    while not (tmp_path / "boat.resume").exists():
        time.sleep(0.02)
        assert run.poll() is None
    (rank,) = others(run.pid)
    os.kill(rank, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    last = err.splitlines()[-1]
    assert (run.returncode, out) == (1, "")
    assert last.startswith("piying: rank 1 of 2 (cpu) was killed by SIGKILL: ") and "Traceback" not in err
    assert not alive(rank) and not list(tmp_path.glob("*.mp4"))
    rest = start("--resume", "boat.resume", "--gpus", 1, folder=tmp_path)
    out, err = rest.communicate(timeout=120)
    assert (rest.returncode, out) == (0, "boat.mp4: 9 frames, seed 7\n"), err
    assert not (tmp_path / "boat.resume").exists()


def are_gone(ranks):
    until = time.monotonic() + 10
    while any(map(alive, ranks)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, ranks))


def test_ranks_that_wait_end_with_a_killed_first_one(model_folder, tmp_path):
    script = "import sys, time, piying; model = piying.load(sys.argv[1], device='cpu', gpus=2); print(); time.sleep(99)"
    command = [sys.executable, "-c", script, str(model_folder)]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline() == b"\n"
        ranks = others(run.pid)
        assert len(ranks) == 1
        run.kill()
    assert are_gone(ranks)


def test_ctrl_c_ends_all_ranks_cleanly(model_folder, tmp_path):
    def hear():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the jobs of a script are born deaf to Ctrl-C

    script = ON_CPUS.replace("import sys;", "import signal, sys; signal.signal(2, signal.default_int_handler);")
    command = [sys.executable, "-c", script, "generate", "a boat", "--model", str(model_folder), "--gpus", "2"]
    pipe = subprocess.PIPE
    run = subprocess.Popen(
        [*command, "--steps", "1000", "--preview"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=hear,
        start_new_session=True,
    )
    while not list(tmp_path.glob("*-preview.png")):
        time.sleep(0.02)
        assert run.poll() is None
    ranks = others(run.pid)
    assert len(ranks) == 1
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err.splitlines()[-1]) == (130, "", "piying: interrupted")
    assert "Traceback" not in err and are_gone(ranks)
