"""The documentation says what is so. `python tests/test_docs.py` writes docs/cli.md and docs/models.md anew."""

import ast
import contextlib
import io
import itertools
import os
import re
import tomllib
from pathlib import Path
from unittest import mock

import pytest

from piying.cli import run
from piying.config import FAMILY, ModelConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADAPTERS = [f"adapters {verb}" for verb in ("list", "add", "info", "rm", "merge", "convert")]
MODELS = ["models list", "models pull", "models add", "models info", "models rm"]
VERBS = [
    "",
    "generate",
    "prompt",
    "inspect",
    "replay",
    "doctor",
    "plan",
    "convert",
    "prep",
    "cast",
    "train",
    "report",
    "train-nano",
    "evaluate",
    *MODELS,
    *ADAPTERS,
    "theatre sample",
    "theatre footage",
    "theatre clips",
]


def help_of(verb: str) -> str:
    printed = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"), contextlib.redirect_stdout(printed):
        assert run([*verb.split(), "--help"]) == 0
    return printed.getvalue().strip()


def manual() -> str:
    """docs/cli.md: the help of every verb."""
    parts = ["# The command line", "Written by `python tests/test_docs.py` from `--help`."]
    for verb in VERBS:
        parts += [f"## piying {verb}".rstrip(), f"```text\n{help_of(verb)}\n```"]
    return "\n\n".join(parts) + "\n"


def family() -> str:
    """docs/models.md: the members side by side."""
    facts = [features(member) for member in FAMILY.values()]
    rows = [[name, *(fact[name] for fact in facts)] for name in facts[0]]
    lines = [f"| {' | '.join(row)} |" for row in (["", *FAMILY], ["---"] * (len(FAMILY) + 1), *rows)]
    text = (
        "# The models\n\n"
        "Written by `python tests/test_docs.py` from [config.py](../piying/config.py). Sizes are height x width.\n\n"
    )
    return text + "\n".join(lines) + "\n"


def features(member: ModelConfig) -> dict[str, str]:
    """One column of the table."""
    network, vae, text, schedule = member.transformer, member.vae, member.text, member.schedule
    step = 8 * network.patch[0]
    return {
        "from": f"[{member.hub}](https://huggingface.co/{member.hub})" if member.hub else "this package",
        "licence": member.licence,
        "made for": ", ".join(
            {"text": "text", "image": "a first image", "ends": "the first and the last"}[t] for t in member.tasks
        ),
        "frames": f"{member.frames} ({step}n+1)",
        "frames a second": str(member.fps),
        "size": f"{member.size[0]}x{member.size[1]} (multiples of {8 * network.patch[1]})",
        "precision": member.precision,
        "steps, sampler": f"{member.steps}, {member.sampler}",
        "guidance": f"{member.guidance:g}, {member.guidance_curve}",
        "prompt, tokens": str(network.text_tokens),
        "layers x heads x width of a head": f"{network.layers} x {network.heads} x {network.head_width}",
        "patch: time, height, width": ", ".join(map(str, network.patch)),
        "channels in, out": f"{network.in_channels}, {network.out_channels}",
        "positions": network.positions,
        "offset embedding": str(network.ofs_width or "none"),
        "SNR shift": f"{schedule.snr_shift:g}",
        "autoencoder, channels": "-".join(map(str, vae.channels)),
        "latent scale, of images": f"{vae.latent_scale:.5g}, {vae.image_latent_scale:.5g}",
        "text encoder, layers x width": f"{text.layers} x {text.width}",
    }


def block(after: str, text: str = README) -> str:
    """The first code block after a line that begins so."""
    found = re.search(rf"^{re.escape(after)}.*?^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"no code block after {after!r}"
    return found[1]


def tree() -> dict[str, str]:
    """The README's file tree: path -> phrase."""
    entries, folders = {}, []
    for line in block("## The files").splitlines():
        indent = len(line) - len(line.lstrip())
        name, _, phrase = line.strip().partition(" ")
        folders = [*folders[: indent // 2], name.rstrip("/")]
        entries["/".join(folders)] = phrase.strip()
    return entries


def test_the_command_line_manual_is_what_help_prints() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == manual(), "docs/cli.md is old: run python tests/test_docs.py"


def test_the_table_of_the_models_is_what_their_configurations_say() -> None:
    written = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert written == family(), "docs/models.md is old: run python tests/test_docs.py"


def test_the_manual_knows_every_verb() -> None:
    commands = re.findall(r"^  ([a-z-]+)  ", help_of("").partition("Commands:")[2], re.MULTILINE)
    assert commands == list(dict.fromkeys(verb.split()[0] for verb in VERBS if verb))


def test_the_tree_in_the_readme_lists_what_is_there() -> None:
    for path, phrase in tree().items():
        assert (ROOT / path).exists(), f"README.md lists {path}, which does not exist"
        assert phrase or (ROOT / path).is_dir(), f"README.md says nothing about {path}"


def test_the_tree_in_the_readme_lists_every_module() -> None:
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "piying").rglob("*.py") if file.stem != "__init__"}
    folders = {str(Path(module).parent) for module in modules}
    assert (modules | folders) - set(tree()) == set()


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_five_lines_of_the_readme_are_the_first_example() -> None:
    assert block("In Python") == (ROOT / "examples" / "first_video.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_use_names_that_piying_offers(example: Path) -> None:
    import piying

    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "piying":
            assert node.attr in piying.__all__


def test_every_dependency_has_its_reason_and_its_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[>=<]", requirement)[0].lower() for requirement in asked} - {"piying"}
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    reasons = re.findall(r"^\| (\S+) \| \S", table, re.MULTILINE)
    pins = re.findall(r"^(\S+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert names == {name.lower() for name in reasons} - {"package"} == set(pins)


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(manual(), encoding="utf-8")
    (ROOT / "docs" / "models.md").write_text(family(), encoding="utf-8")
