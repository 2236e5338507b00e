"""One training step at real shapes, ours beside diffusers + peft: `python benchmarks/train.py --members 2b,5b`.

Batch 1 at the member's own shape, weights random and in bfloat16, LoRA of rank 128 on the attention's four matrices in
float32, AdamW. diffusers runs as its training script does, with gradient checkpointing. Ours runs in each way that
`piying train --memory` chooses from, and fine-tunes the whole transformer. A row holds the median of the steps after
the first, and the peak of what PyTorch had allocated.

`torchrun --nproc-per-node N benchmarks/train.py --members 2b` measures a whole fine-tuning split over N GPUs instead,
one sample a GPU; compare it with the rows of one GPU.
"""

import gc
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import table
import torch
from parity_real_shapes import toy, weighted
from torch import Tensor

from piying.adapters import attach
from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, ModelConfig
from piying.data.dataset import Clip
from piying.models.transformer import Transformer
from piying.parallel import ranks
from piying.sampling.schedule import alphas
from piying.train.loop import State
from piying.train.recipe import OptimizerRecipe
from piying.train.tune.cache import Moments
from piying.train.tune.examples import Example, Examples, Shown
from piying.train.tune.lesson import lesson
from piying.train.tune.savings import GIB, Savings, ways
from piying.train.tune.trial import attempt
from piying.train.tune.tune import descent, lay
from piying.train.tune.tuning import Tuning
from piying.weights.part_json import schedule_json, transformer_json

MEMBERS = {"2b": COGVIDEOX_2B, "5b": COGVIDEOX_5B}
RANK, ALPHA, STEPS = 128, 64.0, 4
OPTIMIZER = OptimizerRecipe(rate=1e-4, warmup=1, ema=0.0)
DTYPE = torch.bfloat16


def examples(member: ModelConfig, tuning: Tuning, device: torch.device) -> Examples:
    """A clip of random latents at the member's own shape, and two captions."""
    torch.manual_seed(0)
    shape = ((member.frames - 1) // 4 + 1, 16, member.size[0] // 8, member.size[1] // 8)
    ends = torch.randn(2, *shape[1:])
    moments = Moments(torch.randn(shape), torch.full(shape, -6.0), ends, torch.full_like(ends, -6.0))
    clip = Clip(id="random", media="", frames=member.frames, fps=member.fps, size=member.size, sha256="")
    text = torch.randn(member.transformer.text_tokens, member.transformer.text_width)
    return Examples(tuning, member, [Shown(clip, moments, ("",), ("",))], {"": text}, device, DTYPE)


def ours(member: ModelConfig, tuning: Tuning, way: Savings, device: torch.device) -> table.Row:
    home = torch.device("cpu") if way.stream or way.split else device
    transformer = weighted(lambda: Transformer(member.transformer), device, DTYPE).to(home)  # a card draws sooner
    model: Any = transformer.requires_grad_(tuning.kind == "full")
    if tuning.kind != "full":
        model = attach.fit(transformer, attach.create(transformer, rank=RANK, alpha=ALPHA), trainable=True)
        attach.attach(transformer, model)
        model.to(device)
    begin = lay(transformer, way, device)
    loss = lesson(transformer, alphas(member.schedule).to(device), "plain", together=way.split)
    given = examples(member, tuning, device)
    state = State(model, OPTIMIZER, 1000, descent(model, OPTIMIZER, 1000, way))
    with begin():
        trial = attempt(state, given, loss, way, device, mixed=False, steps=STEPS)
    return {"seconds": trial.seconds, "GiB": trial.peak / GIB, "samples/s": tuning.batch / trial.seconds}


def theirs(member: ModelConfig, tuning: Tuning, device: torch.device) -> table.Row:
    """The step of diffusers' own training script for this family."""
    from diffusers import CogVideoXDPMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
    from peft import LoraConfig

    with torch.device(device):
        model: Any = CogVideoXTransformer3DModel.from_config(transformer_json(member.transformer))
    model.requires_grad_(False).to(DTYPE)
    model.enable_gradient_checkpointing()
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights=True, target_modules=targets))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.data = parameter.data.float()
    scheduler: Any = CogVideoXDPMScheduler.from_config(schedule_json(member.schedule, "CogVideoXDPMScheduler"))
    optimizer = torch.optim.AdamW(learned, 1e-4)
    turns, given = None, examples(member, tuning, device)
    if member.transformer.positions != "sincos":
        pipeline: Any = SimpleNamespace(vae_scale_factor_spatial=8, transformer=model)
        frames = (member.frames - 1) // 4 + 1
        turns = CogVideoXPipeline._prepare_rotary_positional_embeddings(pipeline, *member.size, frames, device)

    def loss(example: Example) -> Tensor:
        x0, noise, timesteps = (tensor.to(DTYPE) for tensor in (example.x0, example.noise, example.timesteps))
        timesteps = timesteps.long()
        x = scheduler.add_noise(x0, noise, timesteps)
        v = model(x, example.text, timesteps, image_rotary_emb=turns, return_dict=False)[0]
        alpha = scheduler.alphas_cumprod.to(device)[timesteps].view(-1, 1, 1, 1, 1)
        errors = (scheduler.get_velocity(v, x, timesteps) - x0) ** 2 / (1 - alpha)
        return errors.flatten(1).mean(1).mean()

    def step(number: int) -> None:
        with torch.autocast(device.type, DTYPE):
            value = loss(given(number))
        value.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value.item()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    took = []
    model.train()
    for number in range(STEPS):
        began = time.monotonic()
        step(number)
        took.append(time.monotonic() - began)
    peak = torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else None
    seconds = statistics.median(took[1:])
    return {"seconds": seconds, "GiB": peak, "samples/s": 1 / seconds}


def measured(rows: table.Table, labels: table.Row, work: Callable[[], table.Row], device: torch.device) -> None:
    rows.attempt(labels, work)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> None:
    parser = table.options(__doc__, minutes=9)
    parser.add_argument("--members", default="2b,5b")
    given = table.parse(parser)
    columns = {"who": "", "member": "", "trained": "", "seconds": ".3f", "samples/s": ".3f", "GiB": ".2f", "error": ""}
    title = "One training step, batch 1 a GPU, bfloat16; LoRA of rank 128 or the whole transformer."
    with ranks.together():
        device = torch.device(given.device)
        split = ranks.count() > 1
        name = f"train-{ranks.count()}-gpus" if split else "train"
        rows = table.Table(name, title, columns, given.out, device, bars=("who", "seconds"))
        for short in given.members.split(","):
            member = toy(MEMBERS[short]) if given.toy else MEMBERS[short]
            lora = Tuning(rank=RANK, alpha=ALPHA, preserve=0.0, drop=0.0)
            full = Tuning(kind="full", preserve=0.0, drop=0.0, batch=ranks.count())
            plans = [(kind, way) for kind in (lora, full) for way in ways(kind, card=True, ranks=1)]
            if split:
                plans = [(full, way) for way in ways(full, card=True, ranks=ranks.count())]
            elif not rows.time_is_up(given.minutes):
                labels = {"who": f"diffusers + peft {short}", "member": short, "trained": "lora"}
                measured(rows, labels, lambda member=member, lora=lora: theirs(member, lora, device), device)
            for tuning, way in plans:
                if rows.time_is_up(given.minutes):
                    break
                labels = {"who": f"piying {short} {tuning.kind}: {way}", "member": short, "trained": tuning.kind}
                work = lambda member=member, tuning=tuning, way=way: ours(member, tuning, way, device)  # noqa: E731
                if ranks.rank() == 0:
                    measured(rows, labels, work, device)
                else:
                    work()


if __name__ == "__main__":
    main()
