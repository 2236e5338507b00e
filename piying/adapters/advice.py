"""What a person should know before an adapter is used."""

from collections.abc import Callable

from piying.adapters.adapter import Adapter
from piying.prompts.aliases import named, substitute


def called(adapter: Adapter, prompt: str) -> bool:
    """Whether the prompt says a trigger of the adapter, or an alias of one; one without triggers always is."""
    heard = substitute(prompt, adapter.aliases)
    return not adapter.triggers or bool(named(heard, {trigger: trigger for trigger in adapter.triggers}))


def strength(weight: float | None, adapter: Adapter, prompt: str) -> float:
    """How much of the adapter is on in a video: what was asked for, else all; none where it would only do harm."""
    if weight is not None:
        return weight
    return 0.0 if adapter.only_named and not called(adapter, prompt) else 1.0


def advice(
    source: str,
    weight: float | None,
    adapter: Adapter,
    prompt: str,
    base: str,
    base_sha256: Callable[[], str | None],
) -> list[str]:
    """Lines on one adapter in a video: those of `doubts`, and which word the prompt lacks."""
    lines = doubts(source, adapter, base, base_sha256)
    if not called(adapter, prompt):
        line = f"{source}: listens to {' or '.join(adapter.triggers)}, which the prompt does not say"
        left_out = weight is None and strength(weight, adapter, prompt) == 0
        lines.append(f"{line}; so it is left out, where {source}:1 uses it all the same" if left_out else line)
    return lines


def doubts(source: str, adapter: Adapter, base: str, base_sha256: Callable[[], str | None]) -> list[str]:
    """Lines on one adapter on a base: what was assumed, and whether it was trained on another."""
    lines = []
    if adapter.assumed:
        lines.append(f"{source}: {ASSUMED.format(adapter.assumed)}")
    if adapter.base and adapter.base != base:
        lines.append(f"{source}: trained for {adapter.base}, not for {base}; it fits, but may do something else")
    elif adapter.base_sha256 and base_sha256() not in (None, adapter.base_sha256):
        lines.append(f"{source}: trained on other weights of {base} than these; it may do something else")
    return lines


# The two kinds of files whose authors trained with another alpha and did not write it down.
ASSUMED = (
    "the file does not say its alpha; taken is {}. CogVideoX's own trainer used 64 for rank 128 and did not say so, "
    "its SAT trainer 1: if the effect is too strong, add the file with the right --alpha"
)
