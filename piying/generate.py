"""From a request to a video: text -> noise and condition -> denoise -> decode.

Shapes: B videos, F latent frames, C channels, h w latent cells, H W pixels, L text tokens, D width.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from piying import weights
from piying.adapters import store
from piying.adapters.adapter import Adapter
from piying.adapters.advice import advice
from piying.adapters.rack import Rack
from piying.config import GuidanceCurve, ModelConfig, Sampler
from piying.errors import OutOfMemory, PiyingError, UsageError
from piying.models.vae import to_frames, to_pixels
from piying.prompts.aliases import substitute
from piying.request import AdapterUse, FullRequest, Request, resolve
from piying.sampling.denoise import denoise
from piying.sampling.guidance import CURVES, guide
from piying.sampling.schedule import levels
from piying.sampling.steps import STEPS
from piying.video import Video, read_image
from piying.weights import Checkpoint

_OFS = 2.0  # the offset that 1.5 image-to-video was published with


def load(
    name: str | Path = "nano", *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> "Model":
    """A model by its name or folder, on the GPU where there is one.

    `dtype` is the model's own precision where not given. Raises ModelMissing, PiyingError for broken weights and
    OutOfMemory.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _memory(f"model={name}: does not fit into the memory of {device}; use a smaller model, e.g. nano"):
        return Model(weights.load(name, device=device, dtype=dtype), str(name))


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint that makes videos. `name` is what `load` finds it by."""

    checkpoint: Checkpoint
    name: str

    def generate(
        self,
        prompt: str,
        *,
        negative: str = "",
        image: str | Path | None = None,
        last_image: str | Path | None = None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_curve: GuidanceCurve | None = None,
        sampler: Sampler | None = None,
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        adapters: Sequence[str | AdapterUse] = (),
        adapters_merged: bool = False,
        on_step: Callable[["Progress"], None] | None = None,
    ) -> Video:
        """A video of the prompt; see Request for the values. None leaves one to the model, and the seed to chance.

        Adapters are "file_or_name" or "file_or_name:weight".
        """
        request = Request(
            prompt=prompt,
            negative=negative,
            image=Path(image) if image else None,
            last_image=Path(last_image) if last_image else None,
            seed=seed,
            steps=steps,
            guidance=guidance,
            guidance_curve=guidance_curve,
            sampler=sampler,
            frames=frames,
            size=size,
            adapters=tuple(map(AdapterUse.model_validate, adapters)),
            adapters_merged=adapters_merged,
        )
        return self.make(request, on_step=on_step)[0]

    def make(self, *requests: Request, on_step: Callable[["Progress"], None] | None = None) -> list[Video]:
        """The videos of requests that differ in prompt, images and seed alone, made together."""
        for progress in self.stream(*requests):
            if on_step:
                on_step(progress)
        return progress.videos()

    def stream(self, *requests: Request) -> Iterator["Progress"]:
        """The same step by step: stop when you like, and take the videos of the last step.

        Raises UsageError before the work begins, OutOfMemory and PiyingError while it runs.
        """
        full = [resolve(self._with_marked_adapters(request), self.checkpoint.config) for request in requests]
        for name in ("steps", "guidance", "guidance_curve", "sampler", "frames", "size"):
            values = {getattr(request, name) for request in full}
            if len(values) != 1:
                raise UsageError(f"{name} in {sorted(values)}: requests that are made together share one value")
        uses, merged = full[0].adapters, full[0].adapters_merged
        if any((request.adapters, request.adapters_merged) != (uses, merged) for request in full):
            raise UsageError("adapters: requests that are made together share them")
        aliases = _aliases(self.adapters(full[0]))
        on = [(str(use.sha256), use.weight) for use in uses]
        if len(dict(on)) < len(on):
            raise UsageError(f"adapters={', '.join(use.source for use in uses)}: give each once, with one weight")
        return _stream(self.checkpoint, full, aliases, lambda: self.rack.on(on, merged=merged))

    def adapters(self, request: Request) -> dict[str, Adapter]:
        """The adapters of a request as it names them, read where they are new.

        Raises ModelMissing where one is not here, and PiyingError where it is broken or made for another model.
        """
        return {use.source: self.rack.take(store.find(use.source, use.sha256)) for use in request.adapters}

    def advice(self, request: Request) -> list[str]:
        """What a person should know of the adapters of a request, a line each. Raises as `adapters` does."""
        base = self.checkpoint.config.name
        return [
            line
            for source, adapter in self.adapters(request).items()
            for line in advice(source, adapter, request.prompt, base, lambda: self.rack.base_sha256)
        ]

    @cached_property
    def rack(self) -> Rack:
        """The adapters that this model has used."""
        return Rack(self.checkpoint.transformer)

    def _with_marked_adapters(self, request: Request) -> Request:
        marked = tuple(
            use.model_copy(update={"sha256": store.find(use.source, use.sha256).sha256}) for use in request.adapters
        )
        return request.model_copy(update={"model": self.name, "adapters": marked})


@dataclass(frozen=True)
class Progress:
    """A finished step: how far the work is, and what there is to see."""

    step: int  # 1..steps
    steps: int
    latents: Tensor  # [B F C h w], as clean as they are estimated by now
    timings: dict[str, float]  # seconds of each part
    checkpoint: Checkpoint
    requests: list[FullRequest]

    def preview(self) -> np.ndarray:
        """The first frame of the first video by now, uint8 [H W 3]; decodes a single latent frame."""
        return _decode(self.checkpoint, self.latents[:1, :1])[0, 0]

    def videos(self) -> list[Video]:
        """All videos by now. Raises PiyingError where one holds nothing."""
        fps = self.checkpoint.config.fps
        videos = []
        for latents, request in zip(self.latents.split(1), self.requests, strict=True):
            with _memory(_too_large(request)), _clock(self.timings, "decode"):
                frames = _decode(self.checkpoint, latents)[0]
            if frames.min() == frames.max():
                raise PiyingError(f"the video is one flat colour: {_dtype_advice(self.checkpoint)}")
            videos.append(Video(frames, fps, request, dict(self.timings)))
        return videos


@torch.inference_mode()
def _stream(
    checkpoint: Checkpoint,
    requests: list[FullRequest],
    aliases: Mapping[str, str],
    adapters_on: Callable[[], AbstractContextManager[None]],
) -> Iterator[Progress]:
    config, request, device = checkpoint.config, requests[0], _device(checkpoint)
    padding, shape = _latent_shape(config, request)
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    timings = dict.fromkeys(("text", "condition", "denoise", "decode"), 0.0)

    def noise() -> Tensor:
        """Drawn on the CPU, so that a seed gives one video on any device."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)

    with _memory(_too_large(request)):
        with _clock(timings, "text"), adapters_on():
            text = _text(checkpoint, requests, aliases)
        with _clock(timings, "condition"):  # draws before the noise does, as diffusers does
            condition = _condition(checkpoint, requests, generators, shape)
        states = denoise(
            _predictor(checkpoint, text, condition, request),
            noise(),
            levels(config.schedule, request.steps),
            STEPS[request.sampler],
            noise,
        )
        for step in range(1, request.steps + 1):
            with _clock(timings, "denoise"), adapters_on():
                state = next(states)
                if not state.x.isfinite().all():
                    raise PiyingError(f"step {step} of {request.steps} overflowed: {_dtype_advice(checkpoint)}")
            latents = state.x0 if step < request.steps else state.x
            yield Progress(step, request.steps, latents[:, padding:], timings, checkpoint, requests)


def _latent_shape(config: ModelConfig, request: FullRequest) -> tuple[int, tuple[int, int, int, int]]:
    """Latent frames that are added in front to fill a patch and dropped before decoding, and the shape [F C h w]."""
    latent_frames = (request.frames - 1) // 4 + 1
    padding = -latent_frames % config.transformer.patch[0]
    height, width = request.size
    return padding, (latent_frames + padding, config.vae.latent_channels, height // 8, width // 8)


def _text(checkpoint: Checkpoint, requests: list[FullRequest], aliases: Mapping[str, str]) -> Tensor:
    """Embedded prompts [B L D], and before them the negative ones where there is guidance [2B L D]."""
    texts = [request.prompt for request in requests]
    if requests[0].guidance > 1:
        texts = [request.negative for request in requests] + texts
    texts = [substitute(text, aliases) for text in texts]
    tokens = checkpoint.tokenizer(texts, checkpoint.config.transformer.text_tokens)
    states = checkpoint.text(tokens.to(_device(checkpoint)))
    return checkpoint.transformer.embed_text(states.to(_dtype(checkpoint)))


def _aliases(adapters: Mapping[str, Adapter]) -> dict[str, str]:
    """Those of all adapters. Raises UsageError where two mean different names by the same word."""
    aliases: dict[str, str] = {}
    for source, adapter in adapters.items():
        for alias, name in adapter.aliases.items():
            if aliases.setdefault(alias, name) != name:
                raise UsageError(f"adapter={source}: {alias} is {name} here and {aliases[alias]} in another adapter")
    return aliases


def _condition(
    checkpoint: Checkpoint,
    requests: list[FullRequest],
    generators: list[torch.Generator],
    shape: tuple[int, int, int, int],
) -> Tensor | None:
    """Latents of given images at their places in time [B F C h w], zeros elsewhere; None for a model without."""
    if checkpoint.config.transformer.in_channels == checkpoint.config.transformer.out_channels:
        return None
    condition = torch.zeros(len(requests), *shape, device=_device(checkpoint), dtype=_dtype(checkpoint))
    for row, request, generator in zip(condition, requests, generators, strict=True):
        for place, path in ((0, request.image), (-1, request.last_image)):
            if path is not None:
                row[place] = _image_latent(checkpoint, path, request.size, generator)
    return condition


def _image_latent(checkpoint: Checkpoint, path: Path, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """An image as one scaled latent frame [C h w], drawn from what the VAE says of it."""
    pixels = to_pixels(torch.tensor(read_image(path, size))[None, None])
    mean, logvar = checkpoint.vae.encode(pixels.to(_device(checkpoint), _dtype(checkpoint)))
    drawn = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=generator).to(mean)
    return checkpoint.config.vae.image_latent_scale * drawn[0, :, 0]


def _predictor(
    checkpoint: Checkpoint, text: Tensor, condition: Tensor | None, request: FullRequest
) -> Callable[[Tensor, int], Tensor]:
    """The guided v of x [B F C h w] at a timestep."""
    transformer, dtype = checkpoint.transformer, _dtype(checkpoint)
    guided = request.guidance > 1

    def predict_v(x: Tensor, timestep: int) -> Tensor:
        model_input = x.to(dtype)
        if condition is not None:
            model_input = torch.cat([model_input, condition], dim=2)
        if guided:
            model_input = torch.cat([model_input, model_input])
        number = torch.full(text.shape[:1], timestep, device=text.device)
        ofs = None if transformer.config.ofs_width is None else torch.full_like(number, _OFS, dtype=dtype)
        v = transformer.predict(model_input, text, transformer.modulations(number, ofs)).float()
        if not guided:
            return v
        without_prompt, with_prompt = v.chunk(2)
        strength = CURVES[request.guidance_curve](request.guidance, timestep, request.steps)
        return guide(without_prompt, with_prompt, strength)

    return predict_v


@torch.inference_mode()
def _decode(checkpoint: Checkpoint, latents: Tensor) -> np.ndarray:
    """Scaled latents [B F C h w] -> frames uint8 [B F H W 3]."""
    unscaled = latents.transpose(1, 2) / checkpoint.config.vae.latent_scale
    return to_frames(checkpoint.vae.decode(unscaled.to(_dtype(checkpoint)))).cpu().numpy()


def _device(checkpoint: Checkpoint) -> torch.device:
    return checkpoint.transformer.proj_out.weight.device


def _dtype(checkpoint: Checkpoint) -> torch.dtype:
    return checkpoint.transformer.proj_out.weight.dtype


def _dtype_advice(checkpoint: Checkpoint) -> str:
    ours, better = str(_dtype(checkpoint)).removeprefix("torch."), checkpoint.config.precision
    if ours == better:
        return "the weights are damaged, fetch or train them again"
    return f"this model does not run in {ours}, load it in {better}"


def _too_large(request: FullRequest) -> str:
    height, width = request.size
    return f"{request.frames} frames of {height}x{width} do not fit into memory: use fewer frames or a smaller size"


@contextmanager
def _memory(advice: str) -> Iterator[None]:
    """Turns each way of running out of memory into the one error."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(advice) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what the CPU allocator says, in a plain RuntimeError
            raise
        raise OutOfMemory(advice) from error


@contextmanager
def _clock(timings: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[part] += time.perf_counter() - began
