"""What a person asks for: one schema behind Python, the command line and the metadata of a video."""

import math
import secrets
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from piying.config import GuidanceCurve, ModelConfig, Sampler, Speed, Task, Weights
from piying.errors import UsageError
from piying.files import digest

_STRENGTH = 0.8  # of a video made anew, where it is left open


class AdapterUse(BaseModel):
    """An adapter in a request; written short FILE_OR_NAME[:WEIGHT]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str  # a file, a folder, or the name of an added one
    weight: float | None = None  # 1 is as trained, 0 is none; None: 1 where the adapter has something to say
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

    def __str__(self) -> str:
        return self.source if self.weight is None else f"{self.source}:{self.weight:g}"


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
    video: Path | None = None  # made anew, with its composition
    video_sha256: str | None = None
    strength: float | None = None  # how much of the video is made anew: 1 keeps nothing of it
    continues: Path | None = None  # the video that this one goes on from
    continues_sha256: str | None = None
    clips: int | None = None  # how many are chained, each going on from the one before
    seconds: float | None = None  # instead of clips: as many as it takes, and the last one cut
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None  # 1 or less: none
    guidance_curve: GuidanceCurve | None = None
    sampler: Sampler | None = None
    frames: int | None = None  # of a clip
    size: tuple[int, int] | None = None  # height, width in pixels
    model: str = "nano"  # a name or a folder
    weights: Weights | None = None  # full, or quantised to eight bits: less memory, and rounded
    speed: Speed = "exact"  # fast: not the same video, but like it (see sampling/reuse.py)
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
        if self.strength is not None and not self.video:
            raise UsageError(f"strength={self.strength}: use it together with a video")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise UsageError(f"strength={self.strength}: use more than 0, at most 1, e.g. 0.8")
        if self.clips is not None and not 1 <= self.clips <= 10_000:
            raise UsageError(f"clips={self.clips}: use 1 to 10000, e.g. 3")
        if self.seconds is not None and not 0 < self.seconds <= 86_400:
            raise UsageError(f"seconds={self.seconds}: use more than 0, at most 86400, e.g. 20")
        if self.continues and (self.image or self.video):
            raise UsageError(f"continues={self.continues}: its end is the beginning; leave image and video out")
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
    clips: int = 1

    @property
    def steps_taken(self) -> int:
        """All of them, or with a video the last ones, whose noise leaves so much of it."""
        return self.steps if self.strength is None else int(self.steps * self.strength)


def resolve(request: Request, config: ModelConfig) -> FullRequest:
    """What was left open is taken from the model, a seed is drawn, and the files are marked by their content.

    Raises UsageError where the model cannot take the request or a file is missing or not the one that was marked.
    """
    from_model = {
        name: getattr(config, name)
        for name in ("steps", "guidance", "guidance_curve", "sampler", "frames", "size")
        if getattr(request, name) is None
    }
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    strength = _STRENGTH if request.video and request.strength is None else request.strength
    marks = {
        f"{name}_sha256": _mark(name, path, getattr(request, f"{name}_sha256"))
        for name in ("image", "last_image", "video", "continues")
        if (path := getattr(request, name)) is not None
    }
    settled = {"seed": seed, "strength": strength, "clips": request.clips or 1}
    full = FullRequest(**{**dict(request), **from_model, **marks, **settled})
    check(full, config)
    if full.seconds is None:
        return full
    clips = _clips(full, config)
    if request.clips not in (None, clips):
        raise UsageError(f"clips={request.clips}, seconds={request.seconds}: give one of the two")
    return full.model_copy(update={"clips": clips})


def shared_frames(frames: int, config: ModelConfig) -> int:
    """How many frames the end of a clip and the beginning of the next one have in common.

    An image model goes on from the last frame, the others from about a quarter of a clip. 4k+1 with an even k, so that
    what is new fills whole patches in time and whole chunks of the autoencoder.
    """
    latent_frames = (frames - 1) // 4 + 1
    return 4 * (latent_frames // 4 // 2 * 2) + 1 if "text" in config.tasks else 1


def check(request: FullRequest, config: ModelConfig) -> None:
    """Raises UsageError where this model cannot take the request."""
    check_shape(request.frames, request.size, config)
    _check_chain(request, config)
    from_image = request.image or (request.continues if "text" not in config.tasks else None)
    task: Task = "ends" if request.last_image else "image" if from_image else "text"
    if task not in config.tasks:
        raise UsageError(
            {
                "text": f"image=None: {config.name} starts from an image, give one",
                "image": f"image={request.image}: {config.name} takes text alone, leave the image out",
                "ends": f"last_image={request.last_image}: {config.name} was not trained on last frames, leave it out",
            }[task]
        )


def check_shape(frames: int, size: tuple[int, int], config: ModelConfig) -> None:
    """Raises UsageError where this model makes no videos of so many frames and this size."""
    _check_frames(frames, config)
    _check_size(size, config)


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


def _check_chain(request: FullRequest, config: ModelConfig) -> None:
    chained = request.clips > 1 or request.seconds is not None
    if request.steps_taken < 1:
        least = math.ceil(100 / request.steps) / 100
        raise UsageError(f"strength={request.strength}: changes nothing in {request.steps} steps, use {least} or more")
    if chained and request.video:
        raise UsageError(f"video={request.video}: is made anew as one clip; leave clips and seconds out")
    if chained and request.last_image:
        raise UsageError(f"last_image={request.last_image}: is the end of one clip; leave clips and seconds out")
    if (chained or request.continues) and request.frames <= shared_frames(request.frames, config):
        raise UsageError(f"frames={request.frames}: too few to go on from, use e.g. {config.frames}")


def _clips(request: FullRequest, config: ModelConfig) -> int:
    """How many clips fill the seconds; a given video that is continued does not count."""
    shared = shared_frames(request.frames, config)
    wanted = round((request.seconds or 0) * config.fps) + (shared if request.continues else 0)
    return max(math.ceil((wanted - shared) / (request.frames - shared)), 1)


def _mark(name: str, path: Path, expected: str | None) -> str:
    try:
        found = digest(path)
    except FileNotFoundError:
        raise UsageError(f"{name}={path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{name}={path}: {error.strerror}") from None
    if expected not in (None, found):
        raise UsageError(f"{name}={path}: the file has changed since the request was made; put the first one back")
    return found
