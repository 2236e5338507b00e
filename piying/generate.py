"""From a request to a video: text -> noise and what is given -> denoise -> decode, clip after clip.

Shapes: B videos, F latent frames, C channels, h w latent cells, H W pixels, L text tokens, D width.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from piying import chain, latents, resume, settle
from piying import device as devices
from piying.adapters import store
from piying.adapters.adapter import Adapter
from piying.adapters.advice import advice, strength
from piying.adapters.rack import Rack
from piying.chain import End
from piying.checks import finite, memory, memory_or
from piying.config import GuidanceCurve, Sampler, Speed, Weights
from piying.errors import UsageError
from piying.memory.budget import Budget, parse
from piying.memory.place import Place
from piying.parallel.crew import Crew, cards
from piying.parallel.shared import SharedRack, shared
from piying.predict import embed, guided, predictor, timetables
from piying.progress import Progress, clock
from piying.request import AdapterUse, FullRequest, Request
from piying.sampling.denoise import denoise
from piying.sampling.reuse import Foretold
from piying.sampling.schedule import add_noise, levels
from piying.sampling.steps import STEPS, State
from piying.video import Video, frames_at
from piying.weights import Checkpoint, weigh
from piying.weights import load as read


def load(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    memory: int | str = "auto",
    gpus: int = 1,
    weights: Weights | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> "Model":
    """A model by its name or folder, on the GPU where there is one, or on several GPUs that make each video together.

    `dtype` is the model's own precision where not given; on a CPU bfloat16 in place of half precision, or float32 where
    that is what the CPU is made for. `memory` is what it may take of an NVIDIA GPU, in bytes or as "8GB": each request
    is then planned, and what does not fit streams through the card from host memory, with the same result. "auto" is
    what is free when it is needed. `say` is told where memory runs out all the same and the plan changes. With `gpus` 2
    or 4 every further GPU has a process of its own until the model is closed, and holds the whole model; on
    device="cpu" they are processes alone. `weights` in eight bits, "int8" or "fp8", take half the memory and are
    rounded; None takes them as they lie. Raises ModelMissing, PiyingError for broken weights, OutOfMemory, and
    UsageError for a `memory` elsewhere, where there are not so many GPUs, or for `weights` that lie in other bits.
    """
    budget = parse(memory) if isinstance(memory, str) else memory
    if gpus != 1:
        places = cards(gpus, device)
        if budget != "auto":
            raise UsageError(
                f"memory={memory}, gpus={gpus}: each of several GPUs holds the whole model; leave memory out"
            )
        devices.set_threads()
        with memory_or(f"model={name}: does not fit into the memory of {places[0]}; use a smaller model, e.g. nano"):
            dtype = dtype or _precision(name, places[0])
            crew = Crew(places, partial(read, name, dtype=dtype, weights=weights))
            return Model(shared(crew), str(name), say=say, crew=crew)
    device = torch.device(devices.choose(None if device is None else str(device)))
    planned = device.type == "cuda"
    if not planned and budget != "auto":
        raise UsageError(f"memory={memory}: is about an NVIDIA GPU, and {name} runs on {device} here; leave it out")
    devices.set_threads()
    with memory_or(f"model={name}: does not fit into the memory of {device}; use a smaller model, e.g. nano"):
        dtype = dtype or _precision(name, device)
        checkpoint = read(name, device=device, dtype=dtype, waiting=planned, weights=weights)
    return Model(checkpoint, str(name), budget if planned else None, say)


def _precision(name: str | Path, device: torch.device) -> torch.dtype | None:
    """What a model runs in where nobody says; None: its own."""
    return devices.precision(*weigh(name), device) if device.type == "cpu" else None


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint that makes videos. `name` is what `load` finds it by, `memory` and `say` are those of `load`;
    without `memory` the checkpoint stays where it is. `crew` are the ranks of several GPUs."""

    checkpoint: Checkpoint
    name: str
    memory: Budget | None = None
    say: Callable[[str], None] = warnings.warn
    crew: Crew | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes of further GPUs; the model is of no use then. Without such it changes nothing."""
        if self.crew:
            self.crew.close()

    def generate(
        self,
        prompt: str,
        *,
        negative: str = "",
        image: str | Path | None = None,
        last_image: str | Path | None = None,
        video: str | Path | None = None,
        strength: float | None = None,
        continues: str | Path | None = None,
        clips: int | None = None,
        seconds: float | None = None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_curve: GuidanceCurve | None = None,
        sampler: Sampler | None = None,
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        adapters: Sequence[str | AdapterUse] = (),
        adapters_merged: bool = False,
        speed: Speed = "exact",
        on_step: Callable[[Progress], None] | None = None,
    ) -> Video:
        """A video of the prompt; see Request for the values. None leaves one to the model, and the seed to chance.

        Adapters are "file_or_name" or "file_or_name:weight".
        """
        request = Request(
            prompt=prompt,
            negative=negative,
            image=Path(image) if image else None,
            last_image=Path(last_image) if last_image else None,
            video=Path(video) if video else None,
            strength=strength,
            continues=Path(continues) if continues else None,
            clips=clips,
            seconds=seconds,
            seed=seed,
            steps=steps,
            guidance=guidance,
            guidance_curve=guidance_curve,
            sampler=sampler,
            frames=frames,
            size=size,
            adapters=tuple(map(AdapterUse.model_validate, adapters)),
            adapters_merged=adapters_merged,
            speed=speed,
        )
        return self.make(request, on_step=on_step)[0]

    def make(self, *requests: Request, on_step: Callable[[Progress], None] | None = None) -> list[Video]:
        """The videos of requests that differ in prompt, files and seed alone, made together; whole, in memory."""
        full = [self.resolve(request) for request in requests]
        for request in full:
            for line in settle.unread(request, settle.aliases(self.adapters(request)), self.checkpoint):
                self.say(line)
        parts = [list(self.given(request)) for request in full]
        for progress in self.stream(*full):
            if on_step:
                on_step(progress)
            if progress.step == progress.steps:
                for part, video in zip(parts, videos := progress.videos(), strict=True):
                    part.extend(video.frames)
        return [replace(video, frames=np.stack(part)) for part, video in zip(parts, videos, strict=True)]

    def resolve(self, request: Request) -> FullRequest:
        """A request with nothing left open, its files and adapters marked by their content.

        Raises UsageError where this model cannot take it, and as `adapters` does.
        """
        weights = self.checkpoint.weights
        if request.weights not in (None, weights):
            raise UsageError(f"weights={request.weights}: {self.name} is loaded with {weights} ones; load it anew")
        marked = tuple(self._marked(use, request.prompt) for use in request.adapters)
        marks = {"model": self.name, "weights": weights, "adapters": marked}
        return settle.settled(request.model_copy(update=marks), self.checkpoint.config, self.say)

    def given(self, request: FullRequest) -> Iterator[np.ndarray]:
        """The frames of the video that a request continues, uint8 [H W 3], in its size and pace; they come first."""
        return frames_at(request.continues, self.checkpoint.config.fps, request.size) if request.continues else iter(())

    def stream(self, *requests: Request, saved: Path | None = None) -> Iterator[Progress]:
        """The same step by step, clip by clip: stop when you like; each clip's last step has its videos.

        What `Progress.save` left in the folder `saved` is not made again. Raises UsageError before the work begins,
        OutOfMemory and PiyingError while it runs.
        """
        full = [self.resolve(request) for request in requests]
        settle.check_together(full)
        if full[0].guidance <= 1 and any(request.negative for request in full):
            self.say(f"negative: nothing leads away from it with guidance={full[0].guidance:g}; use more than 1")
        uses, merged = full[0].adapters, full[0].adapters_merged
        aliases = settle.aliases(self.adapters(full[0]))
        on = [(str(use.sha256), use.weight) for use in uses if use.weight]
        wanted, fitted = self.rack.sizes(() if merged else on)
        lay_out = partial(self.place.settle, full, adapters=wanted, fitted=fitted)
        return _stream(self.place, full, aliases, lay_out, lambda: self.rack.on(on, merged=merged), saved)

    def adapters(self, request: Request) -> dict[str, Adapter]:
        """The adapters of a request as it names them, read where they are new.

        Raises ModelMissing where one is not here, and PiyingError where it is broken or made for another model.
        """
        return {use.source: self._adapter(use) for use in request.adapters}

    def advice(self, request: Request) -> list[str]:
        """What a person should know of the adapters of a request, a line each. Raises as `adapters` does."""
        base, fingerprint = self.checkpoint.config.name, lambda: self.rack.base_sha256
        return [
            line
            for use in request.adapters
            for line in advice(use.source, use.weight, self._adapter(use), request.prompt, base, fingerprint)
        ]

    def _adapter(self, use: AdapterUse) -> Adapter:
        return self.rack.take(store.find(use.source, use.sha256))

    def _marked(self, use: AdapterUse, prompt: str) -> AdapterUse:
        """With the content of its file, and how much of it is on."""
        found = store.find(use.source, use.sha256)
        weight = strength(use.weight, self.rack.take(found), prompt)
        return use.model_copy(update={"sha256": found.sha256, "weight": weight})

    @cached_property
    def place(self) -> Place:
        """Where its parts lie."""
        return Place(self.checkpoint, self.memory, self.say)

    @cached_property
    def rack(self) -> Rack:
        """The adapters that this model has used."""
        transformer = self.checkpoint.transformer
        return SharedRack(transformer, self.crew) if self.crew else Rack(transformer)


@torch.inference_mode()
def _stream(
    place: Place,
    requests: list[FullRequest],
    aliases: Mapping[str, str],
    settle: Callable[[], None],
    adapters_on: Callable[[], AbstractContextManager[None]],
    saved: Path | None,
) -> Iterator[Progress]:
    """Clip after clip, each going on from the end of the one before."""
    checkpoint, request = place.checkpoint, requests[0]
    timings = dict.fromkeys(("load", "text", "condition", "denoise", "decode"), 0.0)
    with memory(request):
        with clock(timings, "load"):
            settle()
        with clock(timings, "text"), ExitStack() as stack:
            place.fitting("denoise", lambda: stack.enter_context(adapters_on()))  # which brings them to the card
            text = place.fitting("text", lambda: embed(checkpoint, requests, aliases))
            place.release()
    with clock(timings, "condition"):
        ends = [chain.end_of_video(checkpoint, request) for request in requests]
    wanted = None if request.seconds is None else max(round(request.seconds * checkpoint.config.fps), 1)
    room = [wanted] * len(requests)
    for clip in range(1, request.clips + 1):
        for progress in _clip(place, requests, text, ends, clip, room, timings, adapters_on, saved):
            yield progress
        if clip < request.clips:
            ends, room = progress.ends(), progress.room_after()


def _clip(
    place: Place,
    requests: list[FullRequest],
    text: Tensor,
    ends: list[End | None],
    clip: int,
    room: list[int | None],
    timings: dict[str, float],
    adapters_on: Callable[[], AbstractContextManager[None]],
    saved: Path | None,
) -> Iterator[Progress]:
    """One clip of each video, step by step."""
    checkpoint = place.checkpoint
    request, device, steps = requests[0], checkpoint.device, requests[0].steps_taken
    padding, shape = latents.shape(checkpoint.config, request)
    generators = [torch.Generator().manual_seed((request.seed + clip - 1) % 2**63) for request in requests]

    def noise() -> Tensor:
        """Drawn on the CPU, so that a seed gives one video on any device."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)

    with memory(request):
        with clock(timings, "condition"):  # draws before the noise does, as diffusers does
            begun = chain.begin(place, ends, generators)
            known = [beginning and beginning.known for beginning in begun]
            condition = latents.condition(place, requests, known, generators, shape)
            video = latents.video(place, requests, generators, padding)
        eps = noise()
        visited = levels(checkpoint.config.schedule, request.steps)[-steps:]
        x = eps if video is None else add_noise(video, eps, visited[0].alpha)
        done, before, estimates = 0, None, x.new_empty(0)
        if saved and (kept := resume.read(saved, clip, requests, checkpoint)):
            done, x, estimates = kept.step, kept.x.to(device), kept.estimates.to(device)
            before = State(visited[done - 1], x, kept.x0.to(device))
            resume.rewind(generators, kept.random)
        with clock(timings, "denoise"), adapters_on():
            times = place.fitting("denoise", lambda: timetables(checkpoint, [level.timestep for level in visited]))
        ask = predictor(checkpoint, text, condition, request, times)
        noisy = request.sampler == "dpm"
        foretold = Foretold(ask, visited, estimates, done, noisy=noisy) if request.speed == "fast" else None
        predict_v = guided(foretold or ask, request)
        hold = chain.holder(known, eps, padding) if condition is None else None

        def begin() -> Iterator[State]:
            """The steps that are left, from the last state on."""
            return denoise(predict_v, x, visited[done:], STEPS[request.sampler], noise, before, hold)

        states, random = begin(), resume.random(generators)

        def advance() -> State:
            """The next state. Where it fails, another call makes it anew, with the noise that it would have had."""
            nonlocal states
            try:
                return next(states)
            except RuntimeError:
                resume.rewind(generators, random)
                states = begin()
                raise

        if before and done == steps:
            states, done = iter([before]), steps - 1
        while done < steps:
            with clock(timings, "denoise"), adapters_on():
                before = place.fitting("denoise", advance)
                finite(f"step {done + 1} of {steps}", before.x, checkpoint, request.guidance)
            done, x, random = done + 1, before.x, resume.random(generators)
            if done == steps:
                place.release()  # before the last state is decoded
            yield Progress(
                clip,
                request.clips,
                done,
                steps,
                (before.x0 if done < steps else before.x)[:, padding:],
                timings,
                place,
                requests,
                begun,
                room,
                resume.Saved(done, before.x, before.x0, random, foretold.estimates if foretold else estimates),
            )
