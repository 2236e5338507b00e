"""A whole nano video, ours against diffusers' pipeline with the same weights: `python benchmarks/nano.py`.

Each side runs as a process of its own, from start to saved MP4, on the same two cores, in turn; wall time and peak
memory are those of the process. Prints a table, and writes benchmarks/results/nano.json and nano.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from piying import weights
from piying.video import Video, read_frames
from piying.weights import diffusers_layout

PROMPT, SEED, CORES = "A red paper boat sails to the left on the sea", 7, 2
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "diffusers", "transformers", "av")


def ours(folder: str, out: str) -> None:
    import piying

    piying.load(folder).generate(PROMPT, seed=SEED).save(out)


def theirs(folder: str, out: str) -> None:
    import numpy as np
    import torch
    from diffusers import CogVideoXImageToVideoPipeline
    from PIL import Image

    class FromTextAlone(CogVideoXImageToVideoPipeline):
        """nano takes image latents on extra channels, and zeros stand for no image; diffusers wants an image."""

        def prepare_latents(
            self, image, batch_size, channels, frames, height, width, dtype, device, generator, latents
        ):
            shape = batch_size, (frames - 1) // 4 + 1, channels, height // 8, width // 8
            noise = torch.randn(shape, generator=generator, dtype=dtype)
            return noise * self.scheduler.init_noise_sigma, torch.zeros_like(noise)

    config, _ = diffusers_layout.read(Path(folder))
    height, width = config.size
    pipeline = FromTextAlone.from_pretrained(folder, dtype=getattr(torch, config.precision))
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(
        image=Image.new("RGB", (width, height)),
        prompt=PROMPT,
        height=height,
        width=width,
        num_frames=config.frames,
        num_inference_steps=config.steps,
        guidance_scale=config.guidance,
        use_dynamic_cfg=config.guidance_curve == "published",
        max_sequence_length=config.transformer.text_tokens,
        generator=torch.Generator().manual_seed(SEED),
        output_type="np",
    ).frames[0]
    Video((frames * 255).round().astype(np.uint8), config.fps).save(out)


SIDES = {"piying": ours, "diffusers": theirs}


def measure(side: str, folder: str, out: Path) -> dict[str, float]:
    """One process: seconds on the wall, and gigabytes at its peak."""
    environment = os.environ | {"OMP_NUM_THREADS": str(CORES)}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, "--side", side, folder, str(out)], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{side} failed")
    return {"seconds": seconds, "gigabytes": usage.ru_maxrss * 1024 / 1e9}  # ru_maxrss: KiB on Linux


def compare(folder: str, runs: int) -> dict[str, Any]:
    """The sides in turn, so that a change of the machine's mood meets both."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as place:
        for _ in range(runs):
            for side, rows in measured.items():
                rows.append(measure(side, folder, Path(place) / f"{side}.mp4"))
        videos = [read_frames(Path(place) / f"{side}.mp4").astype(float) for side in SIDES]
    return {
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {CORES} cores, {platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "prompt": PROMPT,
        "seed": SEED,
        "runs": measured,
        "difference": abs(videos[0] - videos[1]).mean(),  # of 255, between the two videos
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: medians, and the span of all runs."""
    rows, medians = ["| | seconds | peak memory, GB |", "|---|---|---|"], {}
    for side, runs in result["runs"].items():
        cells = []
        for quantity, digits in (("seconds", 1), ("gigabytes", 2)):
            values = [run[quantity] for run in runs]
            medians[side, quantity] = statistics.median(values)
            cells.append(
                f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
            )
        rows.append(f"| {side} | {' | '.join(cells)} |")
    faster, smaller = (medians["diffusers", q] / medians["piying", q] for q in ("seconds", "gigabytes"))
    rows.append(f"| diffusers / piying | {faster:.2f} | {smaller:.2f} |")
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return "\n".join(
        [
            f"A whole nano video, process start to saved MP4; median of {len(runs)} runs in turn, and their span.\n",
            *rows,
            f"\n{result['date']}, {result['machine']}; {versions}.",
            f"The two videos differ by {result['difference']:.2f} of 255 on average.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(Path(weights.__file__).parent / "nano"), help="a folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, folder, out = arguments.side
        SIDES[side](folder, out)
        return
    result = compare(arguments.model, arguments.runs)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "nano.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "nano.md").write_text(table(result) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
