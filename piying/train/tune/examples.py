"""What one step of a fine-tuning is shown: samples of cached clips, captions, noise, and what the target is.

Shapes: B batch, F latent frames, C channels, h w latent cells, L text tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from piying.config import ModelConfig
from piying.data.dataset import Clip, Member
from piying.parallel import ranks
from piying.prompts.aliases import named, substitute
from piying.prompts.reader import is_chinese
from piying.sampling.schedule import alphas
from piying.train.given import condition, fill_patch
from piying.train.levels import held_out_timesteps, stratified, timesteps_at
from piying.train.seeds import draw_at, noise_at, rank_key
from piying.train.tune.cache import Moments
from piying.train.tune.tuning import Tuning


class Example(NamedTuple):
    """Everything that is drawn for a step, so that the loss draws nothing."""

    x0: Tensor  # [B F C h w]
    noise: Tensor
    condition: Tensor | None  # the same shape, zeros where nothing is given; None: the model takes none
    text: Tensor  # [B L D] states of the text encoder
    timesteps: Tensor  # [B]
    preserved: Tensor  # [B] rows whose target is what the base predicts


@dataclass(frozen=True)
class Shown:
    """A clip as it is shown: captions with tokens for names and a trigger, and with class words for tokens and none."""

    clip: Clip
    moments: Moments
    captions: tuple[str, ...]
    class_captions: tuple[str, ...]

    @classmethod
    def of(cls, clip: Clip, moments: Moments, cast: Sequence[Member], triggers: Sequence[str] = ()) -> "Shown":
        aliases = {alias: member.token for member in cast for alias in member.aliases}
        classes = {member.token: member.class_word for member in cast if member.class_word}
        captions = tuple(substitute(caption, aliases) for caption in clip.captions) or ("",)
        called = tuple(_called(caption, triggers) for caption in captions)
        return cls(clip, moments, called, tuple(substitute(caption, classes) for caption in captions))


def _called(caption: str, triggers: Sequence[str]) -> str:
    """The caption; where it says no trigger, after the first one in Chinese or not as it is itself."""
    if not triggers or named(caption, {trigger: trigger for trigger in triggers}):
        return caption
    trigger = next((word for word in triggers if is_chinese(word) == is_chinese(caption)), triggers[0])
    return f"{trigger}, {caption}" if caption else trigger


@dataclass(frozen=True)
class Examples:
    """Step -> example, a function of the step alone."""

    tuning: Tuning
    config: ModelConfig
    shown: Sequence[Shown]
    texts: Mapping[str, Tensor]  # states [L D] of every caption
    device: torch.device
    dtype: torch.dtype  # of the text states

    def __call__(self, step: int) -> Example:
        tuning = self.tuning
        key: tuple[str | int, ...] = (tuning.seed, "example", step, *rank_key())
        rng, generator = draw_at(*key), noise_at(*key, device=self.device)
        own, prior = self._groups
        count = ranks.share(tuning.batch)
        shape = rng.choice(own).moments.mean.shape
        own, prior = ([one for one in group if one.moments.mean.shape == shape] for group in (own, prior))
        chosen, captions, preserved, anywhere = [], [], [], []
        for _ in range(count):
            role = rng.random()
            as_prior = bool(prior) and role < tuning.prior
            as_class = not as_prior and role < tuning.prior + tuning.preserve
            one = rng.choice(prior if as_prior else own)
            index = rng.randrange(len(one.captions))
            caption = learned = one.captions[index]
            if as_class:
                caption = rng.choice(tuning.keep) if tuning.keep and rng.random() < 0.5 else one.class_captions[index]
            dropped = rng.random() < tuning.drop
            captions.append("" if dropped else caption)
            chosen.append(one)
            # A name without a class word stays where it is, and so does the target. Guidance leads from the empty
            # caption towards the name: it does so best while that stays the base's.
            preserved.append(as_prior or caption != learned or (dropped and tuning.preserve > 0))
            # The base is to stay at all levels, wherever the looks are learned.
            anywhere.append(preserved[-1] or (tuning.uniform > 0 and rng.random() < tuning.uniform))
        x0, images = self._latents(chosen, generator)
        return Example(
            x0,
            torch.randn(x0.shape, generator=generator, device=self.device),
            self._condition(x0, images, generator),
            self._text(captions),
            self._timesteps(step * tuning.batch + ranks.rank() * count, anywhere),
            torch.tensor(preserved, device=self.device),
        )

    def largest(self) -> "Examples":
        """Those alone that take the most memory of all that a step may draw."""
        shape = max((one.moments.mean.shape for one in self._groups[0]), key=torch.Size.numel)
        return replace(self, shown=[one for one in self.shown if one.moments.mean.shape == shape])

    def held_out(self, shown: Sequence[Shown]) -> dict[str, list[Example]]:
        """The same clips, captions and noise at each held-out level, a clip an example: the means of the latents."""
        log_snrs = alphas(self.config.schedule).logit()
        levels: dict[str, list[Example]] = {name: [] for name in held_out_timesteps(log_snrs)}
        for index, one in enumerate(shown):
            dice = torch.Generator().manual_seed(index)
            x0 = self._scaled(one.moments.mean)[None]
            nothing = torch.zeros_like(x0) if self._takes_condition else None
            noise = torch.randn(x0.shape, generator=dice).to(x0)
            if nothing is not None and "text" not in self.config.tasks:
                nothing[:, 0] = self.config.vae.image_latent_scale * one.moments.ends_mean[:1].to(x0)
            text, preserved = self._text(one.captions[:1]), torch.zeros(1, dtype=torch.bool, device=self.device)
            for name, timestep in held_out_timesteps(log_snrs).items():
                at = torch.tensor([timestep], device=self.device)
                levels[name].append(Example(x0, noise, nothing, text, at, preserved))
        return levels

    @cached_property
    def _groups(self) -> tuple[list[Shown], list[Shown]]:
        """Clips to learn, and those that only keep the base what it is."""
        if not self.tuning.prior:
            return list(self.shown), []
        return [one for one in self.shown if one.clip.names], [one for one in self.shown if not one.clip.names]

    def _timesteps(self, first: int, anywhere: Sequence[bool]) -> Tensor:
        """Of the samples from `first` on: any, or one of the levels where looks are learned."""
        log_snrs, tuning = alphas(self.config.schedule).logit().to(self.device), self.tuning
        places = stratified(tuning.seed, first, len(anywhere))
        levels = timesteps_at(places, log_snrs, tuning.log_snr)
        return torch.where(torch.tensor(anywhere, device=self.device), timesteps_at(places, log_snrs, None), levels)

    @property
    def _takes_condition(self) -> bool:
        return self.config.transformer.in_channels > self.config.transformer.out_channels

    def _latents(self, chosen: Sequence[Shown], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Samples of the clips [B F C h w], and of their first and last images [B 2 C h w], as the model takes them."""
        vae, parts = self.config.vae, []
        for names in (("mean", "logvar"), ("ends_mean", "ends_logvar")):
            mean, logvar = (
                torch.stack([getattr(one.moments, name) for one in chosen]).to(self.device).float() for name in names
            )
            drawn = torch.randn(mean.shape, generator=generator, device=self.device)
            parts.append(mean + (0.5 * logvar).exp() * drawn)
        clips, images = parts
        filled = fill_patch(vae.latent_scale * clips, self.config.transformer.patch[0])
        return filled, vae.image_latent_scale * images

    def _scaled(self, mean: Tensor) -> Tensor:
        scaled = self.config.vae.latent_scale * mean.to(self.device).float()
        return fill_patch(scaled[None], self.config.transformer.patch[0])[0]

    def _condition(self, x0: Tensor, images: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self._takes_condition:
            return None
        if "text" in self.config.tasks:
            return condition(x0, images, self.tuning, generator)
        given = torch.zeros_like(x0)
        given[:, 0] = images[:, 0]
        return given

    def _text(self, captions: Sequence[str]) -> Tensor:
        return torch.stack([self.texts[caption] for caption in captions]).to(self.device, self.dtype)
