"""What only a process of its own shows: start-up, streams, signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from piying.cli import run, terminal

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def piying(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "piying", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"], []], ids=str)
def test_help_starts_nothing_heavy(arguments, tmp_path):
    script = (
        "import sys; from piying.cli import run; code = run(sys.argv[1:]); "
        "print([name for name in ('torch', 'av', 'numpy', 'PIL', 'rich') if name in sys.modules]); "
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"
    assert not done.stderr


def test_a_person_makes_and_inspects_a_chinese_video(tiny_model_folder, tmp_path):
    made = piying("generate", "一艘船", "--model", str(tiny_model_folder), "--json", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    video = json.loads(made.stdout)["video"]
    assert video == "一艘船.mp4" and (tmp_path / video).is_file()
    assert "prompt: 一艘船" in piying("inspect", video, folder=tmp_path).stdout


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tiny_model_folder, tmp_path):
    """Killed in the second of three clips, between two steps, with a sampler that draws noise at each."""
    arguments = ["generate", "a red boat", "--model", str(tiny_model_folder), "--seed", "7", "--steps", "6"]
    arguments += ["--clips", "3", "--sampler", "dpm"]
    assert piying(*arguments, "--out", "whole.mp4", folder=tmp_path).returncode == 0
    script = (
        "import os, signal, sys; from piying.cli import run; from piying.progress import Progress\n"
        "save = Progress.save\n"
        "def save_and_die(step, folder):\n"
        "    save(step, folder)\n"
        "    if (step.clip, step.step) == (2, 4): os.kill(os.getpid(), signal.SIGKILL)\n"
        "Progress.save = save_and_die; run(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, *arguments, "--out", "boat.mp4", "--save-every", "2"]
    killed = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert "piying generate --resume boat.resume" in killed.stderr
    assert not (tmp_path / "boat.mp4").exists()
    done = piying("generate", "--resume", "boat.resume", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "boat.mp4: 25 frames, seed 7\n"), done.stderr
    assert (tmp_path / "boat.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not (tmp_path / "boat.resume").exists()


def test_ctrl_c_ends_a_run_cleanly(tiny_model_folder, tmp_path):
    command = [sys.executable, "-m", "piying", "generate", "a boat", "--model", str(tiny_model_folder)]
    command += ["--steps", "1000", "--preview"]
    pipe = subprocess.PIPE

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the jobs of a script are born deaf to Ctrl-C

    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear
    )
    assert process.stderr is not None
    process.stderr.readline()  # the work has begun
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert (out, err.splitlines()[-1]) == ("", "piying: interrupted")
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*"))


def test_the_time_that_is_left_counts_no_steps_of_an_earlier_run(monkeypatch, capsys):
    times = iter([0.0, 60.0])
    monkeypatch.setattr("piying.cli.terminal.time.monotonic", lambda: next(times))
    with terminal.progress("step", 50) as advance:
        advance(45)
    assert capsys.readouterr().err == "step: 45 of 50, about 300 s left\n"


def test_a_gpu_that_is_full_has_its_exit_code_wherever_it_is_found(monkeypatch, capsys):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("piying.cli.doctor.examine", full)
    assert run(["doctor"]) == 4
    assert capsys.readouterr().err.startswith("piying: memory is used up")
