"""Videos on the way, made as a user would make them; they touch neither the weights nor any random state."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from piying.adapters import file
from piying.adapters.attach import Fitted
from piying.data.dataset import Member
from piying.data.describe import frames_of
from piying.generate import Model
from piying.models.text import TextEncoder
from piying.prompts.aliases import substitute
from piying.request import AdapterUse, Request
from piying.theatre.sheet import contact_sheet
from piying.train.tune.ready import NAME, Tuned
from piying.train.tune.tuning import Tuning
from piying.video import read_frames, read_request
from piying.weights import Checkpoint


def addressed(prompts: Sequence[str], cast_: Sequence[Member]) -> tuple[str, ...]:
    """The prompts with the first of the cast for {token} and {alias}; without those where there is no cast."""
    if not cast_:
        return tuple(prompt for prompt in prompts if "{token}" not in prompt and "{alias}" not in prompt)
    token, aliases = cast_[0].token, cast_[0].aliases
    alias = next((alias for alias in aliases if not alias.isascii()), (*aliases, token)[0])
    return tuple(prompt.replace("{token}", token).replace("{alias}", alias) for prompt in prompts)


def show(tuned: Tuned, tuning: Tuning, path: Path) -> None:
    """The adapter as it is by now, in a file; and each prompt without and with that file, as a user would make it."""
    ready, learned, transformer = tuned.ready, tuned.learned, tuned.transformer
    uses: tuple[AdapterUse, ...] = ()
    if isinstance(learned, Fitted):
        folder = path.parent.parent / "adapters"
        folder.mkdir(exist_ok=True)
        kept = folder / f"{path.stem.removeprefix(f'{NAME}-')}.safetensors"
        file.write(learned.adapter(), kept)
        uses = (AdapterUse(source=str(kept)),)
    else:
        transformer = learned
    if not tuning.prompts:
        return
    try:
        shown = Checkpoint(
            ready.config,
            transformer,
            ready.vae.to(ready.examples.device),
            cast(TextEncoder, ready.text),
            ready.tokenizer,
        )
        _make(Model(shown, ready.name), tuned, tuning.prompts, uses, path)
    finally:
        ready.vae.to("cpu")


def _make(model: Model, tuned: Tuned, prompts: Sequence[str], uses: tuple[AdapterUse, ...], path: Path) -> None:
    """The videos and their sheet."""
    ready, image = tuned.ready, None
    if "text" not in ready.config.tasks:
        image = path.with_name("first-frame.png")
        clip = (*ready.held_out, *ready.examples.shown)[0].clip
        Image.fromarray(frames_of(ready.dataset.path(clip))[0]).save(image)
    rows: list[np.ndarray] = []
    captions: list[str] = []
    for index, prompt in enumerate(prompts):
        text = substitute(prompt, ready.dataset.aliases)
        if uses:
            before = path.with_name(f"before-{index + 1}.mp4")
            if not before.is_file() or read_request(before).prompt != text:
                model.make(Request(prompt=text, seed=index, image=image))[0].save(before)
            rows, captions = [*rows, read_frames(before)], [*captions, f"{prompt} (before)"]
        (video,) = model.make(Request(prompt=prompt if uses else text, seed=index, adapters=uses, image=image))
        video.save(path.with_name(f"{path.stem}-{index + 1}.mp4"))
        rows, captions = [*rows, video.frames], [*captions, prompt]
    contact_sheet(rows, captions).save(path)
