"""What a person asks for: one schema behind Python, the command line and the metadata of a video."""

import hashlib
import secrets
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from piying.config import GuidanceCurve, ModelConfig, Sampler, Task
from piying.errors import UsageError


class AdapterUse(BaseModel):
    """An adapter in a request; written short FILE_OR_NAME[:WEIGHT]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str  # a file, a folder, or the name of an added one
    weight: float = 1.0  # 1 is as trained, 0 is none
    sha256: str | None = None  # set when the video is made, so that a replay can tell another file

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, values: Any) -> Any:
        if not isinstance(values, str | Path):
            return values
        source, colon, weight = str(values).rpartition(":")
        if not colon or "/" in weight or "\\" in weight or Path(values).exists():
            return {"source": str(values)}
        try:
            return {"source": source, "weight": float(weight)}
        except ValueError:
            raise UsageError(f"adapter={values}: after the colon comes a number, e.g. {source}:0.8") from None


class Request(BaseModel):
    """One video. None leaves a value to the model. Raises UsageError, one line, where a value breaks a rule."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: str  # as the model reads it
    written: str | None = None  # as the person wrote it, where the prompt was made of that
    negative: str = ""  # what guidance leads away from
    image: Path | None = None  # the first frame
    image_sha256: str | None = None  # set by `resolve`, so that a replay can tell a changed file
    last_image: Path | None = None  # the last frame
    last_image_sha256: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None  # 1 or less: none
    guidance_curve: GuidanceCurve | None = None
    sampler: Sampler | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None  # height, width in pixels
    model: str = "nano"  # a name or a folder
    adapters: tuple[AdapterUse, ...] = ()
    adapters_merged: bool = False  # folded into the weights: faster, and rounded to their precision

    @model_validator(mode="wrap")
    @classmethod
    def _one_line(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "request"
            raise UsageError(f"{name}={first['input']!r}: {first['msg']}") from None

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        if not self.prompt.strip():
            raise UsageError(f'prompt="{self.prompt}": say what to show, e.g. "a red boat on the sea"')
        for name in ("prompt", "written", "negative"):
            try:
                (getattr(self, name) or "").encode()
            except UnicodeEncodeError:  # bytes of a terminal that are not UTF-8 arrive as halves of characters
                raise UsageError(f"{name}={getattr(self, name)!r}: not a text; write it in UTF-8") from None
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(f"seed={self.seed}: use 0 or more, below 2^63, e.g. 7")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise UsageError(f"steps={self.steps}: use 1 to 1000, e.g. 20")
        if self.guidance is not None and self.guidance < 0:
            raise UsageError(f"guidance={self.guidance}: use 0 or more, e.g. 6; 1 or less means none")
        if self.last_image and not self.image:
            raise UsageError(f"last_image={self.last_image}: use it together with a first image")
        return self


class FullRequest(Request):
    """A request with nothing left open: it makes the same video again."""

    seed: int
    steps: int
    guidance: float
    guidance_curve: GuidanceCurve
    sampler: Sampler
    frames: int
    size: tuple[int, int]


def resolve(request: Request, config: ModelConfig) -> FullRequest:
    """What was left open is taken from the model, a seed is drawn, and the image files are marked by their content.

    Raises UsageError where the model cannot take the request or an image is missing or not the one that was marked.
    """
    from_model = {
        name: getattr(config, name)
        for name in ("steps", "guidance", "guidance_curve", "sampler", "frames", "size")
        if getattr(request, name) is None
    }
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    marks = {
        f"{name}_sha256": _mark(name, path, getattr(request, f"{name}_sha256"))
        for name in ("image", "last_image")
        if (path := getattr(request, name)) is not None
    }
    full = FullRequest(**{**dict(request), **from_model, **marks, "seed": seed})
    check(full, config)
    return full


def check(request: FullRequest, config: ModelConfig) -> None:
    """Raises UsageError where this model cannot take the request."""
    _check_frames(request.frames, config)
    _check_size(request.size, config)
    task: Task = "ends" if request.last_image else "image" if request.image else "text"
    if task not in config.tasks:
        raise UsageError(
            {
                "text": f"image=None: {config.name} starts from an image, give one",
                "image": f"image={request.image}: {config.name} takes text alone, leave the image out",
                "ends": f"last_image={request.last_image}: {config.name} was not trained on last frames, leave it out",
            }[task]
        )


def _check_frames(frames: int, config: ModelConfig) -> None:
    step = 8 * config.transformer.patch[0]  # two latent frames for each patch in time
    if frames < 1 or frames % step != 1:
        raise UsageError(f"frames={frames}: use {step}n+1, e.g. {max(round((frames - 1) / step), 1) * step + 1}")
    trained = config.transformer.frames
    if config.transformer.positions == "rope+learned" and frames > trained:
        raise UsageError(f"frames={frames}: {config.name} learned its positions for {trained} at most")


def _check_size(size: tuple[int, int], config: ModelConfig) -> None:
    height, width = size
    cell = 8 * config.transformer.patch[1]
    if any(side < cell or side % cell for side in size):
        near_height, near_width = (max(round(side / cell), 1) * cell for side in size)
        raise UsageError(f"size={height}x{width}: use multiples of {cell}, e.g. {near_height}x{near_width}")
    trained = tuple(8 * cells for cells in config.transformer.latent_size)
    if config.transformer.positions == "rope+learned" and size != trained:
        raise UsageError(f"size={height}x{width}: {config.name} takes {trained[0]}x{trained[1]} alone")


def _mark(name: str, path: Path, expected: str | None) -> str:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UsageError(f"{name}={path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{name}={path}: {error.strerror}") from None
    if expected not in (None, found):
        raise UsageError(f"{name}={path}: the file has changed since the request was made; put the first one back")
    return found
