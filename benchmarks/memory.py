"""Whole short videos on cards of several sizes: `python benchmarks/memory.py`, and `--diffusers` for its ways as well.

Each member gets random weights at its real shapes, written once to `--weights` as a folder in the layout of diffusers.
Each row is a process of its own, from its start to the last decoded frame, held to a card's size with
torch.cuda.set_per_process_memory_fraction, CUDA's own share taken off. A row says what was planned beside what was
measured: the peak that torch had in use and had reserved, seconds of a step, of decoding, and from the start of the
process to the end of the first step, and main memory. Ours and theirs each make a video of two steps before, so that no
row alone reads libraries from the disk or compiles what others find compiled there. "resident" repeats a row's video
with the transformer on the card and no limit: how much longer a step takes than there, and whether the latents are the
same bits. `--steps 50` makes whole videos as a person does.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import table
import torch
from parity_real_shapes import TOY_TEXT, toy
from step import cudnn_where_it_is

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, ModelConfig

MEMBERS = {"2b": COGVIDEOX_2B, "5b": COGVIDEOX_5B, "1.5-5b": COGVIDEOX_15_5B}
CARDS = {"2b": (4, 6, 8), "5b": (6, 8, 12), "1.5-5b": (12, 16)}  # GiB
THEIRS = ("resident", "compiled", "model", "sequential")  # diffusers: two ways on the card, two offload modes
STEPS, GIB = 4, 2**30
COLUMNS = {
    "who": "",
    "layout": "",
    "planned GiB": ".2f",
    "used GiB": ".2f",
    "used/planned": ".3f",
    "reserved GiB": ".2f",
    "planned step s": ".3f",
    "step s": ".3f",
    "step/resident": ".3f",
    "same bits": "",
    "first step s": ".1f",
    "decode s": ".1f",
    "rest s": ".1f",
    "whole s": ".1f",
    "host GiB": ".1f",
}


# --- one row, in a process of its own ---


def ours(told: dict[str, Any]) -> table.Row:
    """A video within `memory` bytes, or with one layout alone and no limit."""
    from piying import generate, weights
    from piying.latents import decode
    from piying.memory import plan as planning
    from piying.memory.calibration import CONTEXT
    from piying.request import Request

    device = torch.device(told["device"])
    if device.type == "cuda" and device.index is None:  # some calls want to know which
        device = torch.device("cuda", torch.cuda.current_device())
    memory = told["memory"] or 2**40
    if told["layout"]:
        planning.LADDER = (planning.Layout(*told["layout"]),)
    if device.type == "cuda" and told["memory"]:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction((memory - CONTEXT) / total, device)
    said: list[str] = []
    checkpoint = weights.load(told["folder"], device=device, waiting=True)
    model = generate.Model(checkpoint, told["folder"], memory, said.append)
    ends: list[float] = []
    peaks: dict[str, int] = {}
    reserved = 0
    for state in model.stream(Request(prompt="a red boat on the sea", seed=1, steps=told["steps"])):
        ends.append(time.time())
        stage = "denoise" if state.step > 1 else "text and first step"
        used, taken = peak(device)
        peaks[stage], reserved = max(peaks.get(stage, 0), used), max(reserved, taken)
    plan = model.place.plan
    assert plan
    digest = hashlib.sha256(state.latents.float().cpu().numpy().tobytes()).hexdigest()
    began = time.time()
    with torch.inference_mode():
        frames = decode(model.place, state.latents[0])
    peaks["decode"], taken = peak(device)
    decoded = time.time() - began
    seconds = [later - earlier for earlier, later in pairwise(ends)]
    used = max(peaks.values())
    row = {
        "layout": f"text {plan.layout.text}, blocks {plan.layout.blocks}, pair {plan.layout.pair}",
        "planned GiB": plan.peak / GIB,
        "planned step s": plan.stages[1].seconds / told["steps"],
        "step s": statistics.median(seconds),
        "decode s": decoded,
        **times(told["began"], ends[0]),
        "host GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
        "frames": len(frames),
        "sha256": digest,
        "lowered": said,
        "planned stages GiB": {stage.name: stage.peak / GIB for stage in plan.stages},
        "used stages GiB": {name: value / GIB for name, value in peaks.items()},
        "vae limit GiB": plan.vae_limit and plan.vae_limit / GIB,
        "seconds": {name: value for name, value in state.timings.items()},
    }
    if device.type == "cuda":
        row |= {
            "used GiB": used / GIB,
            "used/planned": used / plan.peak,
            "reserved GiB": max(reserved, taken) / GIB,
            "allocations tried again": torch.cuda.memory_stats(device)["num_alloc_retries"],
        }
    return row


def theirs(told: dict[str, Any]) -> table.Row:
    """diffusers on the card, perhaps compiled as a whole; or with an offload mode and a tiled autoencoder."""
    from diffusers import CogVideoXPipeline

    device, member = torch.device(told["device"]), MEMBERS[told["member"]]
    member = small(member) if told["toy"] else member
    pipeline = CogVideoXPipeline.from_pretrained(told["folder"], dtype=getattr(torch, member.precision))
    pipeline.set_progress_bar_config(disable=True)
    way = told["layout"]
    if way in ("resident", "compiled"):
        pipeline.to(device)
    else:
        pipeline.vae.enable_tiling()
        if device.type == "cuda":
            {"model": pipeline.enable_model_cpu_offload, "sequential": pipeline.enable_sequential_cpu_offload}[way]()
    if way == "compiled":
        pipeline.transformer.compile(fullgraph=True)
    ends: list[float] = []

    def step_done(*arguments: Any) -> dict[str, Any]:
        ends.append(time.time())
        return {}

    with cudnn_where_it_is(device):
        pipeline(
            prompt="a red boat on the sea",
            height=member.size[0],
            width=member.size[1],
            num_frames=member.frames,
            num_inference_steps=told["steps"],
            guidance_scale=member.guidance,
            use_dynamic_cfg=member.guidance_curve == "published",
            max_sequence_length=member.transformer.text_tokens,
            generator=torch.Generator().manual_seed(1),
            callback_on_step_end=step_done,
            output_type="pt",
        )
    row = {
        "step s": statistics.median(later - earlier for earlier, later in pairwise(ends)),
        **times(told["began"], ends[0]),
        "host GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
    }
    if device.type == "cuda":
        used, reserved = peak(device)
        row |= {"used GiB": used / GIB, "reserved GiB": reserved / GIB}
    return row


def times(began: float, first: float) -> table.Row:
    """Seconds to the end of the first step, from there to now, and both together."""
    now = time.time()
    return {"first step s": first - began, "rest s": now - first, "whole s": now - began}


def peak(device: torch.device) -> tuple[int, int]:
    """What torch had in use and what it had reserved at most since the last call."""
    if device.type != "cuda":
        return 0, 0
    most = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    return most


def run(who: str, **told: Any) -> table.Row:
    """What a process of its own says of a row. Raises RuntimeError with its last line where it fails."""
    told |= {"began": time.time()}
    given = [sys.executable, __file__, "--row", who, json.dumps(told)]
    made = subprocess.run(given, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError((made.stderr.strip().splitlines() or ["it was killed"])[-1])
    return json.loads(made.stdout.splitlines()[-1])


# --- the weights ---


def small(member: ModelConfig) -> ModelConfig:
    """A member for a try on a CPU."""
    text = replace(TOY_TEXT, width=toy(member).transformer.text_width)
    return replace(toy(member), text=text, precision="float32")


def write(member: ModelConfig, folder: Path) -> None:
    """Random weights of a member, normal with a variance of one over the inputs, in its own precision.

    Numbers come from one tile, shifted for each tensor: drawing ten billion would take minutes.
    """
    from piying.models.text import TextEncoder
    from piying.models.transformer import Transformer
    from piying.models.vae import VAE
    from piying.weights import Checkpoint, save

    dtype = getattr(torch, member.precision)
    tile = torch.randn(2**24, generator=torch.Generator().manual_seed(0))
    modules = []
    for network, config in ((Transformer, member.transformer), (VAE, member.vae), (TextEncoder, member.text)):
        with torch.device("meta"):
            module = network(config)
        module = module.to(dtype).to_empty(device="cpu").requires_grad_(False).eval()
        for index, (name, parameter) in enumerate(module.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            values = tile.roll(7919 * index) * (fan_in**-0.5 if parameter.ndim > 1 else 0.1)
            values = (values + float(parameter.ndim == 1 and name.endswith("weight"))).to(dtype)
            flat = parameter.view(-1)
            for start in range(0, len(flat), len(values)):
                part = flat[start : start + len(values)]
                part.copy_(values[: len(part)])
        modules.append(module)
    save(Checkpoint(member, *modules, tokenizer()), folder, dtype, shard_bytes=5 * 10**9)


def tokenizer() -> Any:
    """A few words are enough: any token costs the same."""
    import tokenizers

    from piying.models.text import Tokenizer

    pieces = [(piece, -1.0) for piece in ("<pad>", "</s>", "<unk>", "▁a", "▁red", "▁boat")]
    model = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    model.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return Tokenizer.from_json(model.to_str())


# --- the table ---


def measure(given: argparse.Namespace, rows: table.Table, name: str, folder: str) -> None:
    """All rows of one member."""
    told = {"folder": folder, "member": name, "device": given.device, "steps": given.steps, "toy": given.toy}
    resident: dict[str, table.Row] = {}
    chosen = [card for card in CARDS[name] if not given.cards or card in given.cards]

    def rehearse(who: str, **how: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the rows will tell
            run(who, **told | how | {"steps": 2})

    def reference(pair: str) -> table.Row:
        """The same video with the transformer on the card and without a limit, made once."""
        if pair not in resident:
            layout = ["streamed", "resident", "fetched", pair]
            resident[pair] = rows.attempt(
                {"who": f"piying {name}, resident, pair {pair}"},
                lambda: run("ours", memory=None, layout=layout, **told),
            )
        return resident[pair]

    def within(card: int | None, layout: list[str] | None) -> table.Row:
        row = run("ours", memory=card and card * GIB, layout=layout, **told)
        compared = reference(row["layout"].rpartition(" ")[2])
        if "sha256" in compared:
            row |= {"step/resident": row["step s"] / compared["step s"]}
            row |= {"same bits": "yes" if row["sha256"] == compared["sha256"] else "no"}
        return row

    if chosen and not given.toy:
        rehearse("ours", memory=chosen[0] * GIB, layout=None)
    for card in chosen:
        if rows.time_is_up(given.minutes):
            break
        if given.toy:  # where nothing is limited, the smallest layout stands for every card
            layout = ["streamed", "streamed", "fetched", "apart" if card == CARDS[name][0] else "together"]
            rows.attempt({"who": f"piying {name}, {layout[3]}"}, lambda layout=layout: within(None, layout))
        else:
            rows.attempt({"who": f"piying {name}, {card} GiB"}, lambda card=card: within(card, None))
    if given.diffusers and not given.toy:
        rehearse("theirs", memory=None, layout=given.diffusers[0])
    for way in given.diffusers:
        if not rows.time_is_up(given.minutes):
            row = {"who": f"diffusers {name}, {way}{' offload' if way in THEIRS[2:] else ''}"}
            rows.attempt(row, lambda way=way: run("theirs", memory=None, layout=way, **told))


def main() -> None:
    parser = table.options(__doc__, minutes=25)
    parser.add_argument("--members", default="2b,5b,1.5-5b", help="of 2b, 5b, 1.5-5b")
    parser.add_argument("--cards", type=int, nargs="*", help="GiB; only these of each member's")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--diffusers", nargs="+", choices=THEIRS, default=(), help="its ways that are measured as well")
    parser.add_argument("--weights", type=Path, help="keep random weights here; else in a temporary folder")
    parser.add_argument("--row", nargs=2, metavar=("WHO", "TOLD"), help=argparse.SUPPRESS)
    given = table.parse(parser) if "--row" not in sys.argv else parser.parse_args()
    if given.row:
        made = {"ours": ours, "theirs": theirs}[given.row[0]](json.loads(given.row[1]))
        print(json.dumps(made))
        return
    title = f"Whole videos of {given.steps} steps and random weights, each in a process held to a card's size; "
    title += "see benchmarks/memory.py."
    name, length = ("memory", "used GiB") if given.steps == STEPS else (f"memory_{given.steps}", "whole s")
    rows = table.Table(name, title, COLUMNS, given.out, torch.device(given.device), bars=("who", length))
    with tempfile.TemporaryDirectory() as place:
        for one in given.members.split(","):
            if rows.time_is_up(given.minutes):
                break
            member = small(MEMBERS[one]) if given.toy else MEMBERS[one]
            folder = (given.weights or Path(place)) / one
            if not folder.is_dir():
                folder.parent.mkdir(parents=True, exist_ok=True)
                write(member, folder)
            measure(given, rows, one, str(folder))
            if not given.weights:
                shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    main()
