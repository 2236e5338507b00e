"""What a person should know before an adapter is used."""

from collections.abc import Callable

from piying.adapters.adapter import Adapter
from piying.prompts.aliases import substitute


def advice(source: str, adapter: Adapter, prompt: str, base: str, base_sha256: Callable[[], str | None]) -> list[str]:
    """Lines on one adapter: what was assumed, whether it was trained on another base, which word the prompt lacks."""
    lines = []
    if adapter.assumed:
        lines.append(f"{source}: {ASSUMED.format(adapter.assumed)}")
    if adapter.base and adapter.base != base:
        lines.append(f"{source}: trained for {adapter.base}, not for {base}; it fits, but may do something else")
    elif adapter.base_sha256 and base_sha256() not in (None, adapter.base_sha256):
        lines.append(f"{source}: trained on other weights of {base} than these; it may do something else")
    heard = substitute(prompt, adapter.aliases).lower()
    if adapter.triggers and not any(trigger.lower() in heard for trigger in adapter.triggers):
        lines.append(f"{source}: listens to {' or '.join(adapter.triggers)}, which the prompt does not say")
    return lines


# The two kinds of files whose authors trained with another alpha and did not write it down.
ASSUMED = (
    "the file does not say its alpha; taken is {}. CogVideoX's own trainer used 64 for rank 128 and did not say so, "
    "its SAT trainer 1: if the effect is too strong, add the file with the right --alpha"
)
