"""The published members at their real shapes, ours beside diffusers: `python benchmarks/parity_real_shapes.py`.

Each part gets random weights, the same in both, and runs in the member's own precision. The reference is diffusers (for
T5 transformers) with these very weights in float32, TF32 off, so it owes nothing to our code. What is measured is the
relative L2 distance of each side from the reference; ours may be no larger than theirs, but for rounding noise.

Wants a GPU of 80 GB: the reference of a 5B holds 22 GB of weights, and ours stand beside them. Prints the table and
writes it to benchmarks/results/parity_real_shapes.{json,md} after each row; rows of earlier runs stay there until they
are measured again, so the members may be run one by one. Ends with 1 where a row fails.
"""

import argparse
import gc
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # float32 and half do not share holes
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # it warns of each change of precision

import torch
from torch import Tensor, nn

from piying.config import FAMILY, ModelConfig, Precision, TextConfig
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.weights import t5
from piying.weights.part_json import text_json, transformer_json, vae_json

MEMBERS = [member for member in FAMILY.values() if member.hub]
T5 = "t5-v1.1-xxl"
ALLOWED = 1.02  # our error over theirs: two orders of rounding the same numbers differ by about a hundredth
SMALLER = (49, (480, 720))  # where an autoencoder cannot be measured at the member's own shape
RESULTS = Path(__file__).parent / "results"
NAME = "parity_real_shapes"
TIMESTEP, OFS, TOKENS = 500, 2.0, 226
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Row:
    """One part at one shape: each side's distance from the reference, or why there is none."""

    part: str
    members: str
    precision: Precision
    frames: int  # of T5, tokens
    size: tuple[int, int] | None = None  # pixels
    ours: float = math.nan
    theirs: float = math.nan
    apart: float = math.nan  # ours from theirs
    failure: str = ""
    note: str = ""  # why the shape is not the member's own
    where: str = ""  # day, machine and versions

    @property
    def key(self) -> tuple[str, str]:
        return self.part, self.members

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.precision)

    @property
    def shape(self) -> str:
        return "x".join(map(str, (self.frames, *self.size))) if self.size else f"{self.frames} tokens"

    @property
    def title(self) -> str:
        return f"{self.part} of {self.members}, {self.shape}"

    @property
    def passed(self) -> bool:
        return not self.failure and self.ours <= ALLOWED * self.theirs


# --- the parts: each takes a row without numbers and gives it back with them ---


def transformer(row: Row, member: ModelConfig, device: torch.device) -> Row:
    """One forward pass over the latents of a whole video."""
    from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel

    config, size = member.transformer, member.size
    frames = (member.frames - 1) // 4 + 1
    frames += -frames % config.patch[0]
    ours = weighted(lambda: Transformer(config), device, row.dtype)
    with torch.device(device):
        theirs = CogVideoXTransformer3DModel.from_config(transformer_json(config))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    random = torch.Generator(device).manual_seed(1)
    latents = (1, frames, config.in_channels, size[0] // 8, size[1] // 8)
    x = torch.randn(latents, generator=random, device=device).to(row.dtype)
    text = torch.randn(1, config.text_tokens, config.text_width, generator=random, device=device).to(row.dtype)
    timestep = torch.tensor([TIMESTEP], device=device)
    ofs = None if config.ofs_width is None else torch.tensor([OFS], device=device)
    turns = None
    if config.positions != "sincos":
        pipeline: Any = SimpleNamespace(vae_scale_factor_spatial=8, transformer=theirs)
        turns = CogVideoXPipeline._prepare_rotary_positional_embeddings(pipeline, *size, frames, device)

    def call_theirs(dtype: torch.dtype) -> Tensor:
        return theirs(x.to(dtype), text.to(dtype), timestep, ofs=ofs, image_rotary_emb=turns).sample

    return measure(row, theirs, call_theirs, lambda: ours(x, text, timestep, ofs))


def encode(row: Row, member: ModelConfig, device: torch.device) -> Row:
    """A whole video to mean and log variance, not in tiles."""
    ours, theirs = vaes(row, member, device)
    random = torch.Generator(device).manual_seed(2)
    pixels = (torch.rand(1, 3, row.frames, *row.size, generator=random, device=device) * 2 - 1).to(row.dtype)

    def call_theirs(dtype: torch.dtype) -> Tensor:
        found = theirs.encode(pixels.to(dtype)).latent_dist
        return torch.cat([found.mean, found.logvar], dim=1)

    return measure(row, theirs, call_theirs, lambda: torch.cat(ours.encode(pixels), dim=1))


def decode(row: Row, member: ModelConfig, device: torch.device) -> Row:
    """Latents to a whole video, not in tiles."""
    ours, theirs = vaes(row, member, device)
    random = torch.Generator(device).manual_seed(3)
    shape = (1, member.vae.latent_channels, (row.frames - 1) // 4 + 1, row.size[0] // 8, row.size[1] // 8)
    latents = torch.randn(shape, generator=random, device=device).to(row.dtype)
    return measure(row, theirs, lambda dtype: theirs.decode(latents.to(dtype)).sample, lambda: ours.decode(latents))


def vaes(row: Row, member: ModelConfig, device: torch.device) -> tuple[VAE, Any]:
    from diffusers import AutoencoderKLCogVideoX

    ours = weighted(lambda: VAE(member.vae), device, row.dtype)
    with torch.device(device):
        theirs = AutoencoderKLCogVideoX.from_config(vae_json(member.vae, member.size))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def text_encoder(row: Row, config: TextConfig, device: torch.device) -> Row:
    """The states of one prompt."""
    from transformers import T5Config, T5EncoderModel

    ours = weighted(lambda: TextEncoder(config), device, row.dtype)
    with torch.device(device):
        theirs = T5EncoderModel(T5Config(**text_json(config)))
    values = ours.state_dict()
    found = theirs.load_state_dict({published: values[name] for name, published in t5.names(config).items()}, False)
    if found.unexpected_keys or set(found.missing_keys) - {"encoder.embed_tokens.weight"}:  # shared.weight once more
        raise ValueError(f"the names of T5 do not agree: {found}")
    random = torch.Generator(device).manual_seed(4)
    tokens = torch.randint(0, config.vocabulary, (1, TOKENS), generator=random, device=device)
    return measure(row, theirs, lambda dtype: theirs(tokens).last_hidden_state, lambda: ours(tokens))


# --- what is done with each ---


def weighted(build: Callable[[], Module], device: torch.device, dtype: torch.dtype) -> Module:
    """A module of ours with random weights, drawn where they live.

    Normal with a variance of one over the inputs, so that activations keep their size; modulations twice that, so that
    gates and scales of about a half let every path through; heads sharp enough to look at some dozens of tokens.
    """
    with torch.device("meta"):
        module = build()
    module = module.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    random = torch.Generator(device).manual_seed(0)
    for name, parameter in module.named_parameters():
        centre, spread = _spread(name, parameter)
        parameter.normal_(centre, spread, generator=random)
    return module


def _spread(name: str, parameter: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of a parameter by its name and shape."""
    owner, _, kind = name.rpartition(".")
    if kind == "bias":
        return 0.0, 0.1
    if kind == "pos_embedding" or owner in ("embedding", "distances"):
        return 0.0, 1.0
    if parameter.ndim == 1:  # the weight of a norm; of q and k, whose product is what a head looks by
        return (1.6, 0.1) if owner.endswith(("norm_q", "norm_k")) else (1.0, 0.1)
    spread = parameter[0].numel() ** -0.5
    if owner.endswith(("norm1.linear", "norm2.linear", "norm_out.linear")):
        spread *= 2
    if owner.endswith("attention.q"):  # T5 does not scale its logits
        spread *= 2 / math.sqrt(64)
    return 0.0, spread


@torch.inference_mode()
def measure(
    row: Row, theirs: nn.Module, call_theirs: Callable[[torch.dtype], Tensor], call_ours: Callable[[], Tensor]
) -> Row:
    """The row with its numbers: the reference in float32 first, then theirs and ours in the precision of the row."""
    theirs.eval().float()
    began = time.monotonic()
    reference = call_theirs(torch.float32)
    norm = torch.linalg.vector_norm(reference).item()  # waits for the device too
    say(f"{row.title}: the reference took {time.monotonic() - began:.0f} s, norm {norm:.4g}")
    theirs.to(row.dtype)
    release()
    expected = call_theirs(row.dtype)
    release()
    found = call_ours()
    row = replace(
        row, ours=distance(found, reference), theirs=distance(expected, reference), apart=distance(found, expected)
    )
    say(f"{row.title}: ours {row.ours:.3e}, theirs {row.theirs:.3e}{_peak()}")
    return row


def distance(x: Tensor, reference: Tensor) -> float:
    """Relative L2."""
    if x.shape != reference.shape:
        raise ValueError(f"shapes {tuple(x.shape)} and {tuple(reference.shape)}")
    norms = [torch.linalg.vector_norm(value, dtype=torch.float64) for value in (x.float() - reference, reference)]
    return (norms[0] / norms[1]).item()


def attempt(row: Row, make: Callable[[Row], Row]) -> Row:
    """What `make` says of the row, or the row with the reason why it says nothing: the other parts still run."""
    try:
        row = make(row)
    except torch.OutOfMemoryError:
        row = replace(row, failure="does not fit into the memory")
    except Exception as error:
        row = replace(row, failure=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}")
    if row.failure:
        say(f"{row.title}: {row.failure}")
    release()
    return row


def release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def rows(names: list[str], members: list[ModelConfig], text: TextConfig, device: torch.device) -> Iterator[Row]:
    """Every part of the members that are named. An autoencoder that members share is measured once."""
    chosen = [member for member in members if member.name in names]
    for member in chosen:
        row = Row("transformer", member.name, member.precision, member.frames, member.size)
        yield attempt(row, lambda row, member=member: transformer(row, member, device))
    for vae in dict.fromkeys(map(_vae_of, chosen)):
        same = [member for member in members if _vae_of(member) == vae]
        for part, make in (("VAE encode", encode), ("VAE decode", decode)):
            note = ""
            for frames, size in dict.fromkeys([(same[0].frames, same[0].size), SMALLER]):
                sharers = ", ".join(member.name for member in same)
                row = Row(part, sharers, same[0].precision, frames, size, note=note)
                row = attempt(row, lambda row, make=make, member=same[0]: make(row, member, device))
                if not row.failure:
                    break
                note = f"{row.shape}: {row.failure}"
            yield row
    if T5 in names:
        yield attempt(Row("text encoder", T5, "bfloat16", TOKENS), lambda row: text_encoder(row, text, device))


def _vae_of(member: ModelConfig) -> tuple[Any, ...]:
    """What decides the numbers of its autoencoder; latent scales are applied outside of it."""
    same = replace(member.vae, latent_scale=1.0, image_latent_scale=1.0)
    return same, member.precision, member.frames, member.size


# --- toys ---


def toy(member: ModelConfig) -> ModelConfig:
    """The member with everything small but its precision, for a try on a CPU."""
    transformer = replace(
        member.transformer,
        layers=2,
        heads=2,
        text_width=32,
        time_width=32,
        ofs_width=32 if member.transformer.ofs_width else None,
        latent_size=(4, 6),
        frames=17,
    )
    vae = replace(member.vae, channels=(8, 8, 16, 16), blocks=1, groups=4)
    return replace(member, transformer=transformer, vae=vae, frames=17, size=(32, 48))


TOY_TEXT = TextConfig(vocabulary=50, width=64, layers=2, heads=2, ff_width=96)


# --- results ---


def table(found: list[Row]) -> str:
    """The result as Markdown."""
    lines = [
        "Relative L2 distance from a float32 reference of the same random weights (diffusers, for T5 transformers;",
        f"TF32 off), each side in the member's own precision. A row passes where ours is at most {ALLOWED} of theirs.",
        "",
        "| part | member | precision | shape | piying | diffusers | ours / theirs | ours from theirs | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        numbers = [f"{row.ours:.3e}", f"{row.theirs:.3e}", f"{row.ours / row.theirs:.3f}", f"{row.apart:.3e}"]
        verdict = "passes" if row.passed else f"fails: {row.failure or 'further away than diffusers'}"
        verdict += f" ({row.note})" * bool(row.note)
        cells = [row.part, row.members, row.precision, row.shape, *(numbers if not row.failure else ["-"] * 4), verdict]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *dict.fromkeys(row.where for row in found)]
    return "\n".join(lines)


def save(found: list[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.json").write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", "utf-8")
    (folder / f"{NAME}.md").write_text(table(found) + "\n", "utf-8")


def earlier(folder: Path) -> list[Row]:
    path = folder / f"{NAME}.json"
    return [Row(**values) for values in json.loads(path.read_text("utf-8"))] if path.is_file() else []


def merged(before: list[Row], row: Row) -> list[Row]:
    """The rows with this one added, in the place of an earlier one of the same part."""
    if row.key in (keys := [other.key for other in before]):
        place = keys.index(row.key)
        return [*before[:place], row, *before[place + 1 :]]
    return [*before, row]


def where(device: torch.device) -> str:
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers"))
    return f"{date.today().isoformat()}, {machine}; python {platform.python_version()}, {versions}."


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _peak() -> str:
    if not torch.cuda.is_available():
        return ""
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return f", peak {peak:.1f} GiB"


def main() -> int:
    names = [*(member.name for member in MEMBERS), T5]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, help="a folder that gets the results too; with --toy it alone does")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--toy", action="store_true", help="the same run with everything small, e.g. on a CPU")
    arguments = parser.parse_args()
    if arguments.toy and not arguments.out:
        parser.error("--toy needs --out: its numbers are no results")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device(arguments.device)
    members, text = (MEMBERS, MEMBERS[0].text) if not arguments.toy else ([toy(m) for m in MEMBERS], TOY_TEXT)
    places = [RESULTS] * (not arguments.toy) + [arguments.out] * bool(arguments.out)
    kept, measured = earlier(places[0]), []
    for row in rows(arguments.members, members, text, device):
        row = replace(row, where=where(device))
        measured.append(row)
        kept = merged(kept, row)
        for folder in places:
            save(kept, folder)
    print(table(measured))
    return 0 if all(row.passed for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
