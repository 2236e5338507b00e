"""Imports point down the house, never up; checked on the source, so an import inside a function counts too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "piying"
LAYERS = [  # from the ground up; neighbours in one line do not know each other
    {"errors", "files", "config", "theatre.scene"},
    {"kernels", "ledger"},
    {"ops", "device", "host"},
    {"models", "sampling"},
    {"weights", "prompts"},
    {"adapters"},
    {"request"},
    {"memory"},
    {"video"},
    {"checks"},
    {"latents", "predict", "resume", "settle"},
    {"chain"},
    {"progress", "parallel"},
    {"generate"},
    {"theatre", "data"},
    {"evaluate"},
    {"train"},
    {"cli"},
    {"__main__"},
]
DOORS = {"piying"}  # the package itself: opens `generate` on demand, and states the version
FILES = sorted(ROOT.rglob("*.py"))


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file) for file in FILES}


def layer_of(module: str) -> tuple[int, str]:
    """The height of a module, and the entry of LAYERS that it belongs to."""
    inside = module.removeprefix("piying.")
    for height, entries in enumerate(LAYERS):
        for entry in entries:
            if inside == entry or inside.startswith(f"{entry}."):
                return height, entry
    raise AssertionError(f"{module} stands in no layer")


def imports(file: Path) -> set[str]:
    """The modules of ours that a file names in an import, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "piying"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports in full"
            if node.module and node.module.split(".")[0] == "piying":
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found.add(whole if whole in MODULES else node.module)
    return found


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_down(file: Path) -> None:
    module = name_of(file)
    if module in DOORS:
        return
    height, entry = layer_of(module)
    for target in imports(file) - DOORS:
        below, other = layer_of(target)
        assert below < height or entry == other, f"{module} imports {target}, which stands above or beside it"


def test_every_import_names_a_module_that_exists() -> None:
    for file in FILES:
        assert imports(file) <= MODULES, f"{file} imports {imports(file) - MODULES}"
