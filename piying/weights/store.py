"""Where models lie on this machine, and how a name finds one. Nothing here uses the network.

A name stands for, in this order: a model that was added under it, a download of Piying's, a download in the cache of
Hugging Face's own tools.
"""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from piying.config import FAMILY, ModelConfig
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.files import home, replacing
from piying.weights import diffusers_layout

Kind = Literal["package", "added", "download", "hub cache"]
NANO = Path(__file__).parent / "nano"
ORGANISATIONS = ("THUDM", "zai-org")  # the authors renamed theirs; both names serve


@dataclass(frozen=True)
class Place:
    """A model on this machine."""

    name: str
    kind: Kind
    path: Path


def find(name: str | Path) -> Path:
    """The folder or file that a name, a hub id or a path means.

    A bare name of the family is a name, whatever folders there are; ./name means a folder. Raises ModelMissing with the
    command that brings the model.
    """
    text, path = str(name), Path(name)
    if place := _added(text):
        if not place.path.exists():
            raise ModelMissing(f"{place.path}: not there any more; `piying models rm {place.name}` forgets it")
        return place.path
    if text not in FAMILY and path.exists():
        return path
    if place := known(text):
        return place.path
    if text == "nano":
        raise ModelMissing("nano: its weights are not in this installation; train them with `piying train-nano`")
    if member(text) is None and not is_hub_id(text):
        raise ModelMissing(f"{name}: no such folder and no known model; known are {', '.join(FAMILY)}")
    torn = next((snapshot for snapshot in hub_snapshots(text)), None)
    found = f"; {torn} is not whole: {diffusers_layout.lacking(torn)}" if torn else ""
    here = "not on this machine" if member(text) else "no such folder, and not on this machine"
    raise ModelMissing(f"{name}: {here}; run `piying models pull {name}`{found}")


def known(name: str) -> Place | None:
    """The model under a name or hub id, where it is on this machine and whole."""
    if name == "nano":
        return Place("nano", "package", NANO) if NANO.is_dir() else None
    if place := _added(name):
        return place
    config = member(name)
    if not (config.hub if config else is_hub_id(name)):
        return None
    short = config.name if config else name
    if downloads(name).is_dir():
        return Place(short, "download", downloads(name))
    whole = (snapshot for snapshot in hub_snapshots(name) if not diffusers_layout.lacking(snapshot))
    return next((Place(short, "hub cache", snapshot) for snapshot in whole), None)


def places() -> list[Place]:
    """Everything that is here: nano, what was added, what was pulled, members of the family in the hub's cache."""
    names = ["nano", *added(), *(repository(member) for member in FAMILY.values() if member.hub)]
    if _models().is_dir():
        names += [path.name.replace("--", "/", 1) for path in sorted(_models().iterdir()) if path.name[0] != "."]
    found = {place.path: place for name in names if (place := known(name))}
    return list(found.values())


def add(name: str, path: Path) -> None:
    """Makes a name for a folder or file of the user's. Raises UsageError for a name that cannot be one."""
    if not re.fullmatch(r"[\w][\w.-]*", name) or name == "nano":
        raise UsageError(f"name={name}: use letters, digits, dots and dashes, e.g. my-model; nano is taken")
    _keep(added() | {name: str(path.resolve())})


def remove(place: Place) -> None:
    """Deletes a download, or forgets what was added and leaves the files. Raises PiyingError for anything else."""
    if place.kind == "added":
        _keep({name: path for name, path in added().items() if name != place.name})
    elif place.kind == "download":
        shutil.rmtree(place.path)
    elif place.kind == "hub cache":
        raise PiyingError(f"{place.path}: belongs to the cache of Hugging Face; `hf cache rm` deletes there")
    else:
        raise PiyingError(f"{place.name}: came with piying and stays")


def added() -> dict[str, str]:
    """What the user added: name -> path."""
    path = _list()
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise PiyingError(f"{path}: not JSON ({error}); mend or delete it") from error
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise PiyingError(f"{path}: not a list of names and paths; mend or delete it")
    return entries


def member(name: str) -> ModelConfig | None:
    """The member of the family that a name or one of its hub ids means."""
    if name in FAMILY:
        return FAMILY[name]
    organisation, _, short = name.partition("/")
    if organisation not in ORGANISATIONS:
        return None
    return next((config for config in FAMILY.values() if config.hub and _short(config.hub) == short.lower()), None)


def is_hub_id(name: str) -> bool:
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name))


def repository(config: ModelConfig) -> str:
    """The hub id of a member."""
    if config.hub is None:
        raise UsageError(f"{config.name}: came with piying; there is nothing to pull")
    return config.hub


def downloads(name: str) -> Path:
    """Where the download of a name or hub id lies, or would."""
    config = member(name)
    return _models() / (repository(config) if config else name).replace("/", "--")


def unfinished(name: str) -> Path:
    """Where a download lies until it is whole."""
    folder = downloads(name)
    return folder.with_name(f".{folder.name}.partial")


def hub_snapshots(name: str) -> list[Path]:
    """The snapshots of a model in the cache of Hugging Face's tools, the one that `main` points to first."""
    config = member(name)
    ids = [f"{organisation}/{repository(config).split('/')[1]}" for organisation in ORGANISATIONS] if config else [name]
    found = []
    for hub_id in ids:
        folder = _hub_cache() / f"models--{hub_id.replace('/', '--')}"
        main = folder / "refs" / "main"
        commit = main.read_text().strip() if main.is_file() else ""
        snapshots = [path for path in sorted((folder / "snapshots").glob("*")) if path.is_dir()]
        found += [path for path in snapshots if path.name == commit]
        found += [path for path in snapshots if path.name != commit]
    return found


def make(folder: Path) -> None:
    """Makes a folder within `home`. Raises PiyingError where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PiyingError(f"{folder}: cannot be made ({error.strerror}); set PIYING_HOME elsewhere") from error


def _added(name: str) -> Place | None:
    """What the user added under a name, or under the name of the member that a hub id means."""
    config, entries = member(name), added()
    keys = (key for key in (name, config.name if config else name) if key in entries)
    return next((Place(key, "added", Path(entries[key])) for key in keys), None)


def _hub_cache() -> Path:
    """Hugging Face's own rule for its cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if cache := os.environ.get(name):
            return Path(os.path.expandvars(cache)).expanduser()
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or str(default))).expanduser() / "hub"


def _models() -> Path:
    return home() / "models"


def _list() -> Path:
    return home() / "added.json"


def _keep(entries: dict[str, str]) -> None:
    path = _list()
    make(path.parent)
    try:
        with replacing(path) as partial:
            partial.write_text(json.dumps(entries, indent=2, ensure_ascii=False), "utf-8")
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror}); set PIYING_HOME elsewhere") from error


def _short(hub_id: str) -> str:
    return hub_id.partition("/")[2].lower()
