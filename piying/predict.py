"""A checkpoint as the function that a sampler asks: the guided v of noisy latents.

Shapes: B videos, F latent frames, C channels, h w latent cells, L text tokens, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from piying import ops
from piying.checks import finite
from piying.memory.tables import Tables, tables
from piying.models.quant import narrowed
from piying.prompts.aliases import substitute
from piying.request import FullRequest
from piying.sampling.guidance import CURVES, guide
from piying.weights import Checkpoint

_OFS = 2.0  # the offset that 1.5 image-to-video was published with


def embed(checkpoint: Checkpoint, requests: Sequence[FullRequest], aliases: Mapping[str, str]) -> Tensor:
    """Embedded prompts [B L D], and before them the negative ones where there is guidance [2B L D].

    Every alias is read as its name.
    """
    texts = [request.prompt for request in requests]
    if requests[0].guidance > 1:
        texts = [request.negative for request in requests] + texts
    texts = [substitute(text, aliases) for text in texts]
    tokens = checkpoint.tokenizer(texts, checkpoint.config.transformer.text_tokens)
    states = checkpoint.text(tokens.to(checkpoint.device))
    return finite("the text encoder", checkpoint.transformer.embed_text(states.to(checkpoint.dtype)), checkpoint)


def timetables(checkpoint: Checkpoint, timesteps: Sequence[int]) -> Tables:
    """All that these timesteps decide, with the adapters that are on."""
    return tables(checkpoint.transformer, timesteps, None if checkpoint.config.transformer.ofs_width is None else _OFS)


def predictor(
    checkpoint: Checkpoint, text: Tensor, condition: Tensor | None, request: FullRequest, tables: Tables
) -> Callable[[Tensor, int], Tensor]:
    """v of x [B F C h w] at a timestep of the tables, without the prompt and with it [2 B F C h w], or with it alone.

    A fast one multiplies in eight bits where the card does.
    """
    transformer, dtype = checkpoint.transformer, checkpoint.dtype
    rows = 2 if request.guidance > 1 else 1
    narrow = request.speed == "fast" and ops.multiplies_narrow(checkpoint.device)

    def predict_v(x: Tensor, timestep: int) -> Tensor:
        model_input = x.to(dtype)
        if condition is not None:
            model_input = torch.cat([model_input, condition], dim=2)
        model_input = torch.cat([model_input] * rows)
        with narrowed(transformer) if narrow else nullcontext():
            v = transformer.predict(model_input, text, tables.at(timestep, len(text)))
        return v.float().unflatten(0, (rows, -1))

    return predict_v


def guided(predict_v: Callable[[Tensor, int], Tensor], request: FullRequest) -> Callable[[Tensor, int], Tensor]:
    """The v that a sampler steps along [B F C h w], of one without the prompt and with it."""

    def predict(x: Tensor, timestep: int) -> Tensor:
        v = predict_v(x, timestep)
        if len(v) == 1:
            return v[0]
        strength = CURVES[request.guidance_curve](request.guidance, timestep, request.steps_taken)
        return guide(v[0], v[1], strength)

    return predict
