"""What a fine-tuning begins with: the dataset as latents and text states, and the parts of the model by need."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar, cast

import torch
from torch import nn

from piying.adapters.attach import Fitted
from piying.checks import memory_or
from piying.config import ModelConfig
from piying.data.dataset import Clip, Dataset, Member, write_whole
from piying.errors import PiyingError, UsageError
from piying.files import digest
from piying.memory.stream import Stream
from piying.models.text import Block, TextEncoder, Tokenizer
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.parallel import ranks
from piying.prompts.aliases import substitute
from piying.prompts.reader import Reader, read
from piying.train.hooks import Event, Listener
from piying.train.seeds import draw_at
from piying.train.stage import Run
from piying.train.tune.cache import LatentCache, TextCache, mark_of
from piying.train.tune.examples import Examples, Shown
from piying.train.tune.tuning import Tuning
from piying.weights import safe
from piying.weights.source import Source

NAME = "train"  # of the stage, its log and its checkpoints
MOST_HELD_OUT = 16  # clips
_FEWEST = 0.5  # of the pixels that the model makes: a smaller clip was made for another model
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Ready:
    """What a fine-tuning begins with."""

    source: Source
    name: str  # that the model is found by
    dataset: Dataset
    examples: Examples
    held_out: Sequence[Shown]
    text: "Remembered"
    tokenizer: Tokenizer
    dtype: torch.dtype

    @property
    def config(self) -> ModelConfig:
        return self.source.config

    @cached_property
    def vae(self) -> VAE:
        """In main memory."""
        return load(self.source, "vae", VAE, torch.device("cpu"), self.dtype)


@dataclass(frozen=True)
class Tuned:
    """What came out: the model with what was learned on it, still in memory."""

    ready: Ready
    transformer: Transformer
    learned: Fitted | Transformer  # the average


def prepare(source: Source, name: str, dataset: Dataset, run: Run[Tuning], memory: int | None) -> Ready:
    """Latents and text states, made where they are not there yet, one network in `memory` (bytes) at a time."""
    tuning, config, device = run.recipe, source.config, run.device
    dtype = torch.float32 if config.precision == "float32" else torch.bfloat16
    clips = _usable(dataset, config, run.listen)

    def tell(line: str) -> None:
        run.listen(note(line))

    vae = cache(lambda: load(source, "vae", VAE, device, dtype))
    encoder = cache(lambda: _text_encoder(source, device, dtype, memory))
    latents = LatentCache(dataset, mark_of(source.vae.tensors), str(dtype), config.fps, vae, memory, tell)
    tokenizer = Tokenizer.read(source.tokenizer)
    mark, length = mark_of(source.text.tensors), config.transformer.text_tokens
    text = TextCache(dataset.folder, mark, str(dtype), tokenizer, length, encoder, tell)
    if ranks.rank() == 0:
        with memory_or(f"device={device}: a clip does not fit while its latents are made; use smaller clips"):
            latents.fill(clips, device)
    ranks.wait()
    vae.cache_clear()
    shown = [Shown.of(clip, latents.read(clip), dataset.cast, tuning.triggers) for clip in clips if latents.holds(clip)]
    if not shown:
        raise UsageError(f"{dataset.folder}: no clip that can be read; make them with piying prep")
    learned, held_out = _split(shown, dataset.cast, tuning, run.listen)
    if tuning.prior and not _names(learned):
        raise UsageError(f"prior={tuning.prior}: no clip names anyone of the cast; run piying cast, or set prior=0")
    if ranks.rank() == 0:
        says = {
            "learned": [one.clip.id for one in learned],
            "held_out": [one.clip.id for one in held_out],
            "sha256": {one.clip.id: one.clip.sha256 for one in shown},
        }
        write_whole(run.out / "clips.json", json.dumps(says, indent=1, ensure_ascii=False))
    prompts = [*tuning.keep, *(substitute(prompt, dataset.aliases) for prompt in tuning.prompts)]
    reader = Reader(config.name, tokenizer.encode, length, source.words)
    _tell_of_captions([caption for one in shown for caption in one.captions], reader, tell)
    if silent := sum(not one.clip.captions for one in shown):
        tell(f"{silent} of {len(shown)} clips have no caption, so that the empty prompt learns their looks")
    captions = [caption for one in shown for caption in (*one.captions, *one.class_captions)]
    texts = ["", *captions, *prompts]
    states = text.states(texts, device) if ranks.rank() == 0 else {}
    ranks.wait()
    states = states or text.states(texts, device)
    encoder.cache_clear()
    remembered = Remembered({tuple(tokenizer([line], length)[0].tolist()): one for line, one in states.items()})
    examples = Examples(tuning, config, learned, states, device, dtype)
    return Ready(source, name, dataset, examples, held_out[:MOST_HELD_OUT], remembered, tokenizer, dtype)


class Remembered(nn.Module):
    """Stands for the text encoder where every text is known: states [L D] by token numbers."""

    flow = None

    def __init__(self, states: dict[tuple[int, ...], torch.Tensor]) -> None:
        super().__init__()
        self.states = states

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.states[tuple(row)] for row in tokens.tolist()]).to(tokens.device)


def check_size(dataset: Dataset, config: ModelConfig, name: str) -> None:
    """Raises UsageError where even the largest clip was made for a smaller model. `name` finds this one."""
    height, width = max((clip.size for clip in dataset.clips), key=math.prod, default=config.size)
    if height * width < _FEWEST * math.prod(config.size):
        raise UsageError(
            f"{dataset.folder}: its clips of {height}x{width} are too small for {config.name}, which makes"
            f" {config.size[0]}x{config.size[1]}; make them with piying prep FOOTAGE --model {name}"
        )


def _usable(dataset: Dataset, config: ModelConfig, listen: Listener) -> list[Clip]:
    """The clips that the model can take; the others are named. Raises UsageError where none is left."""
    time, height, width = config.transformer.patch
    clips = []
    for clip in dataset.clips:
        if (clip.frames - 1) % (8 * time) and clip.frames > 1:
            listen(note(f"{clip.id}: left out, {clip.frames} frames, this model takes {8 * time}n+1"))
        elif clip.size[0] % (8 * height) or clip.size[1] % (8 * width):
            wanted = f"multiples of {8 * height} and {8 * width}"
            listen(note(f"{clip.id}: left out, {clip.size[0]}x{clip.size[1]} pixels, this model takes {wanted}"))
        elif math.prod(clip.size) < _FEWEST * math.prod(config.size):
            made = f"this model makes {config.size[0]}x{config.size[1]}"
            listen(note(f"{clip.id}: left out, {clip.size[0]}x{clip.size[1]} pixels, {made}"))
        elif digest(dataset.path(clip)) != clip.sha256:
            listen(note(f"{clip.id}: left out, {clip.media} changed since prep; run piying prep again"))
        else:
            clips.append(clip)
    if not clips:
        raise UsageError(f"{dataset.folder}: no clip that {config.name} can take; make them with piying prep")
    return clips


def _tell_of_captions(captions: Sequence[str], reader: Reader, tell: Callable[[str], None]) -> None:
    """How many captions the model does not read whole, and an example of each kind."""
    readings = [(caption, read(caption, reader)) for caption in captions]
    cut = [(caption, f"{one.tokens} tokens") for caption, one in readings if one.cut]
    strange = [(caption, " ".join(one.unreadable)) for caption, one in readings if one.unreadable]
    for found, fault in (
        (cut, f"are cut: {reader.name} reads {reader.limit} tokens"),
        (strange, f"hold what {reader.name} cannot read"),
    ):
        if found:
            caption, what = found[0]
            tell(f'{len(found)} of {len(captions)} captions {fault}, e.g. "{caption:.40}" ({what:.40})')


def _split(
    shown: list[Shown], cast_: Sequence[Member], tuning: Tuning, listen: Listener
) -> tuple[list[Shown], list[Shown]]:
    """What is learned, and what is held out: whole episodes; single clips of one that is the last with someone in it.

    Whoever no learned clip names is named.
    """
    learned, out = shown, set[str]()  # ids of clips
    if tuning.held_out and len(shown) > 1:
        dice = draw_at(tuning.seed, "held out")
        episodes = sorted({one.clip.episode for one in shown})
        for episode in dice.sample(episodes, _share(tuning, len(episodes))):
            inside = [one for one in learned if one.clip.episode == episode]
            others = [one for one in learned if one.clip.episode != episode]
            if lost := _names(inside) - _names(others):
                tokens = ", ".join(member.token for member in cast_ if member.id in lost)
                last = f"{episode}: is the last episode with {tokens}"
                listen(note(f"{last}, so that at most single clips of it are held out"))
            elif not others:
                listen(note("all clips are of one episode, so that single clips are held out"))
            wanted = _share(tuning, len(inside)) if lost or not others else len(inside)
            for one in dice.sample(inside, len(inside)):
                rest = [other for other in learned if other is not one]
                if wanted and rest and _names([one]) <= _names(rest):
                    learned, out, wanted = rest, out | {one.clip.id}, wanted - 1
    if unseen := [member.token for member in cast_ if member.id not in _names(learned)]:
        listen(note(f"{', '.join(unseen)}: no learned clip names them, so that they are not learned; run piying cast"))
    return learned, [one for one in shown if one.clip.id in out]


def _share(tuning: Tuning, count: int) -> int:
    """How many of so many are held out."""
    return max(1, round(tuning.held_out * count))


def _names(shown: Sequence[Shown]) -> set[str]:
    """Ids of the cast in the clips."""
    return {name for one in shown for name in one.clip.names}


def _text_encoder(source: Source, device: torch.device, dtype: torch.dtype, memory: int | None) -> TextEncoder:
    """On the device; where it does not fit there, its blocks flow through it."""
    size = dtype.itemsize * sum(torch.Size(stored.shape).numel() for stored in source.text.tensors.values())
    if device.type == "cpu" or memory is None or size < memory:
        return load(source, "text_encoder", TextEncoder, device, dtype)
    encoder = load(source, "text_encoder", TextEncoder, torch.device("cpu"), dtype)
    for part in (encoder.norm, encoder.distances):
        part.to(device)
    encoder.flow = Stream([block for block in encoder.blocks if isinstance(block, Block)], device, copies=False)
    return encoder


def load(source: Source, part: str, kind: type[Network], device: torch.device, dtype: torch.dtype) -> Network:
    """One network of a model."""
    for name, module, stored, names in source.parts():
        if name == part:
            safe.fill(module, stored.tensors, stored.origin, device=device, dtype=dtype, names=names)
            return cast(Network, module.requires_grad_(False).eval())
    raise PiyingError(f"{part} is no part of a model")


def note(line: str) -> Event:
    return Event(NAME, 0, 0, note=line)
