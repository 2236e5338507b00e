"""Videos on the way, made as a user would make them; they touch neither the weights nor any random state."""

from pathlib import Path
from typing import cast

import numpy as np

from piying.adapters import file
from piying.adapters.attach import Fitted
from piying.generate import Model
from piying.models.text import TextEncoder
from piying.prompts.aliases import substitute
from piying.request import AdapterUse, Request
from piying.theatre.sheet import contact_sheet
from piying.train.tune.ready import NAME, Tuned
from piying.train.tune.tuning import Tuning
from piying.video import read_frames
from piying.weights import Checkpoint


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
    shown = Checkpoint(
        ready.config,
        transformer,
        ready.vae.to(ready.examples.device),
        cast(TextEncoder, ready.text),
        ready.tokenizer,
    )
    model = Model(shown, ready.name)
    rows: list[np.ndarray] = []
    captions: list[str] = []
    for index, prompt in enumerate(tuning.prompts):
        text = substitute(prompt, ready.dataset.aliases)
        if uses:
            before = path.with_name(f"before-{index + 1}.mp4")
            if not before.is_file():
                model.make(Request(prompt=text, seed=index))[0].save(before)
            rows, captions = [*rows, read_frames(before)], [*captions, f"{prompt} (before)"]
        (video,) = model.make(Request(prompt=prompt if uses else text, seed=index, adapters=uses))
        video.save(path.with_name(f"{path.stem}-{index + 1}.mp4"))
        rows, captions = [*rows, video.frames], [*captions, prompt]
    ready.vae.to("cpu")
    contact_sheet(rows, captions).save(path)
