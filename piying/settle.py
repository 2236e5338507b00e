"""What requests ask of a model, settled before it works: nothing left open, nothing that cannot go together, and what
will not be read."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from piying.adapters.adapter import Adapter
from piying.config import ModelConfig
from piying.errors import UsageError
from piying.prompts import reader
from piying.prompts.aliases import substitute
from piying.request import FullRequest, Request, resolve
from piying.video import frames_at
from piying.weights import Checkpoint

_FILES = ("image", "last_image", "video", "continues")
_OWN = {"prompt", "written", "negative", "seed", "adapters", *_FILES, *(f"{name}_sha256" for name in _FILES)}


def settled(request: Request, config: ModelConfig, say: Callable[[str], None] = lambda line: None) -> FullRequest:
    """As `resolve`, and a video that is made anew decides how many frames it is made of; `say` is told which are not.

    Raises UsageError where it holds too few, or fewer than were asked for.
    """
    if request.video:
        most, step = request.frames or config.frames, 8 * config.transformer.patch[0]
        held = sum(1 for _ in islice(frames_at(request.video, config.fps), most))
        if request.frames is not None and held < most:
            raise UsageError(f"frames={most}: {request.video} holds {held}, ask for fewer")
        if request.frames is None:
            taken = (held - 1) // step * step + 1
            if taken == 1 < held:
                raise UsageError(
                    f"video={request.video}: {held} frames at {config.fps} a second; use {step + 1} or more"
                )
            if taken < held:
                say(f"{request.video}: of {held} frames the first {taken} are made anew")
            request = request.model_copy(update={"frames": taken})
    return resolve(request, config)


def aliases(adapters: Mapping[str, Adapter]) -> dict[str, str]:
    """Those of all adapters. Raises UsageError where two mean different names by the same word."""
    known: dict[str, str] = {}
    for source, adapter in adapters.items():
        for alias, name in adapter.aliases.items():
            if known.setdefault(alias, name) != name:
                raise UsageError(f"adapter={source}: {alias} is {name} here and {known[alias]} in another adapter")
    return known


def check_together(requests: Sequence[FullRequest]) -> None:
    """Raises UsageError where requests cannot be made together: they differ in what is their own (`_OWN`) alone, and
    have each adapter once, all the same."""
    for name in (name for name in FullRequest.model_fields if name not in _OWN):
        values = {getattr(request, name) for request in requests}
        if len(values) != 1:
            found = sorted(values, key=str)
            raise UsageError(f"{name} in {found}: requests that are made together share one value")
    uses = requests[0].adapters
    if any(request.adapters != uses for request in requests):
        told = "; ".join(dict.fromkeys(", ".join(map(str, request.adapters)) or "none" for request in requests))
        raise UsageError(f"adapters={told}: requests that are made together share them, and their weights")
    if len({use.sha256 for use in uses}) < len(uses):
        raise UsageError(f"adapters={', '.join(use.source for use in uses)}: give each once, with one weight")


def unread(request: Request, aliases: Mapping[str, str], checkpoint: Checkpoint) -> list[str]:
    """What of its prompts the model will not see, a line each. Every alias is read as its name."""
    config = checkpoint.config
    reads = reader.Reader(config.name, checkpoint.tokenizer.encode, config.transformer.text_tokens, checkpoint.words)
    return [
        line
        for text in (request.prompt, request.negative)
        for line in reader.unread(reader.read(substitute(text, aliases), reads), reads)
    ]
