"""The card of an adapter: what it is, what it was trained on and how, how well, and how to use it."""

import json
from pathlib import Path

from piying import __version__, ledger
from piying.adapters.adapter import Adapter
from piying.train.tune.ready import NAME, Tuned
from piying.train.tune.tuning import Tuning


def card(tuned: Tuned, tuning: Tuning, out: Path, adapter: Adapter) -> str:
    """Markdown, with the head that model hubs read."""
    ready, config = tuned.ready, tuned.ready.config
    learned, batch = ready.examples.shown, ready.examples.tuning.batch
    held_out = len(json.loads((out / "clips.json").read_text("utf-8"))["held_out"])
    names = ", ".join(adapter.triggers) or "a style"
    base = config.hub or config.name
    first = ready.dataset.cast[0] if ready.dataset.cast else None
    who = first and (*first.aliases, first.token)[0]
    prompt = f"{who} rides a horse" if who else ", ".join(["a red boat", *adapter.triggers[:1]])
    seconds = sum(one.clip.frames / one.clip.fps for one in learned)
    lines = [
        "---",
        f"base_model: {base}",
        "library_name: diffusers",
        f"tags: [{adapter.kind.lower()}, text-to-video, cogvideox, piying]",
        *([f"instance_prompt: {adapter.triggers[0]}"] if adapter.triggers else []),
        "---",
        "",
        f"# {names}: {adapter.kind} for {config.name}",
        "",
        f"Rank {tuning.rank}, alpha {tuning.alpha:g}, on {', '.join(tuning.targets)}. Trained with Piying "
        f"{__version__} on weights with the fingerprint `{adapter.base_sha256}`.",
        "",
        "## Use",
        "",
        "```sh",
        "piying adapters add pytorch_lora_weights.safetensors --name mine",
        f'piying generate "{prompt}" --model {config.name} --adapter mine',
        "```",
        "",
        "`kohya.safetensors` and `comfyui.safetensors` are the same in the names of those programs, alpha in each.",
        "",
        *_names(tuned),
        "## Data",
        "",
        f"{len(learned)} clips, {seconds:.0f} seconds, of {len({one.clip.episode for one in learned})} episodes; "
        f"{held_out} clips were held out.",
        "",
        "## How it went",
        "",
        f"{tuning.steps} steps of {batch}. The error of v on what was held out, by level of noise (log-SNR):",
        "",
        *_curve(out / f"{NAME}.jsonl"),
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(json.loads((out / "recipe.json").read_text("utf-8"))["recipe"], indent=1, ensure_ascii=False),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _names(tuned: Tuned) -> list[str]:
    cast = tuned.ready.dataset.cast
    if not cast:
        return []
    rows = [f"| {one.token} | {', '.join(one.aliases) or '-'} | {one.class_word or '-'} |" for one in cast]
    told = "Piying reads the aliases; write the token where another program makes the video."
    return ["| the model is told | you may write | one of |", "|---|---|---|", *rows, "", told, ""]


def _curve(log: Path) -> list[str]:
    """The held-out errors of the log as a table."""
    seen = [line for line in ledger.findings(log) if any(name.startswith("held out") for name in line)]
    if not seen:
        return ["Nothing was held out."]
    columns = [name for name in seen[0] if name.startswith("held out")]
    head = " | ".join(name.removeprefix("held out v at ") for name in columns)
    rows = [f"| {line['step']} | {' | '.join(f'{line[name]:.4f}' for name in columns)} |" for line in seen]
    return [f"| step | {head} |", "|---" * (len(columns) + 1) + "|", *rows]
