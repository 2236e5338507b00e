"""Pictures as vectors, by a vision model in a folder of this machine: DINOv2, CLIP, one for faces or drawn ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from piying.files import digest
from piying.prompts.folder import opening

FRAMES = 4  # of a clip


class Embedder:
    """A vision model of transformers. `mark` tells it from others."""

    def __init__(self, folder: Path, device: str) -> None:
        """Raises UsageError for a folder that is none, PiyingError where transformers is missing or cannot read it.

        Nothing is fetched and no code of the folder is run.
        """
        with opening(folder, "embedder", "the folder of a vision model, e.g. DINOv2") as given:
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            self._processor: Any = AutoImageProcessor.from_pretrained(folder, use_fast=False, **given)
            model: Any = AutoModel.from_pretrained(folder, use_safetensors=True, **given)
            self.reads = hasattr(model, "get_text_features")
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **given) if self.reads else None
        self._model, self._device = model.to(device).eval(), device
        self.mark = "-".join(digest(path)[:12] for path in sorted(folder.glob("*.safetensors")))

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Pictures uint8 [H W 3] -> vectors of length 1 [N D]."""
        given = self._processor(images=list(pictures), return_tensors="pt").to(self._device)
        return _vectors(self._model.get_image_features(**given) if self.reads else self._model(**given))

    def clip(self, frames: np.ndarray) -> Tensor:
        """A few frames, spread evenly, of a clip uint8 [F H W 3] -> [N D]."""
        chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
        return self.pictures(frames[chosen])

    @torch.inference_mode()
    def text(self, line: str) -> Tensor:
        """A line -> a vector of length 1 [D], where the model `reads`."""
        given = self._tokenizer([line], return_tensors="pt", truncation=True).to(self._device)
        return _vectors(self._model.get_text_features(**given))[0]


def likeness(clip: Tensor, gallery: Tensor, nearest: int = 3) -> float:
    """The mean over a clip's pictures [N D] of the cosines with the nearest few of a gallery [M D]."""
    return float((clip @ gallery.T).topk(min(nearest, len(gallery))).values.mean())


def _vectors(found: Any) -> Tensor:
    """What a model gives for a picture: its pooled output, or the first token where it pools nothing."""
    if not isinstance(found, Tensor):
        pooled = getattr(found, "pooler_output", None)
        found = pooled if pooled is not None else found.last_hidden_state[:, 0]
    return F.normalize(found.float().flatten(1), dim=1).cpu()
