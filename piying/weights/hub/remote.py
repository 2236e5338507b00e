"""A repository on a hub, and what of it a model needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from piying.errors import PiyingError
from piying.weights.diffusers_layout import PARTS
from piying.weights.hub.transfer import RemoteFile

_SMALL = ("model_index.json", "piying.json", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")
_PARTS = "|".join(PARTS)
_STEMS = "|".join(set(PARTS.values()))
_NEEDED = re.compile(  # without the weights of other precisions and libraries
    rf"(?:{'|'.join(map(re.escape, _SMALL))}|scheduler/[^/]+\.json|tokenizer/[^/]+\.(?:json|model)"
    rf"|(?:{_PARTS})/(?:config\.json|(?:{_STEMS})(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?))"
)


@dataclass(frozen=True)
class Remote:
    """What a hub says of a repository."""

    hub_id: str
    revision: str
    licence: str | None
    files: list[RemoteFile]
    headers: Mapping[str, str]

    def needed(self) -> list[RemoteFile]:
        """The files of a model, small ones first. Raises PiyingError where they are not those of a model."""
        files = [file for file in self.files if _NEEDED.fullmatch(file.path)]
        paths = {file.path for file in files}
        if "model_index.json" not in paths:
            raise PiyingError(f"{self.hub_id}: no model_index.json there: not a model in the layout of diffusers")
        for part in PARTS:
            if not any(PurePosixPath(path).parent.name == part and path.endswith(".safetensors") for path in paths):
                raise PiyingError(f"{self.hub_id}: no safetensors in {part}/; Piying fetches no pickles")
        return sorted(files, key=lambda file: file.size)
