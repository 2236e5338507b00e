"""A model from a hub into Piying's own folder: looked up, room made sure, fetched, checked, and only then in place."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from piying.errors import PiyingError, UsageError
from piying.weights import diffusers_layout, store
from piying.weights.hub import huggingface, modelscope
from piying.weights.hub.remote import Remote
from piying.weights.hub.transfer import RemoteFile, fetch, verify

Hub = Literal["huggingface", "modelscope"]
RECORD = "pulled.json"  # where a download came from, kept beside it
_LOOK_UP: dict[Hub, Callable[[str], Remote]] = {"huggingface": huggingface.look_up, "modelscope": modelscope.look_up}


@dataclass(frozen=True)
class Order:
    """A download that can begin: what is fetched, and what of it is here from an earlier try."""

    remote: Remote
    files: list[RemoteFile]
    folder: Path
    partial: Path

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def here(self) -> int:
        """Bytes that an earlier try left."""
        return sum(self._have(file) for file in self.files)

    def _have(self, file: RemoteFile) -> int:
        paths = (self.partial / file.path, self.partial / f"{file.path}.part")
        return next((path.stat().st_size for path in paths if path.is_file()), 0)


def order(name: str, hub: Hub) -> Order:
    """Looks a model up, by its name or hub id.

    Raises UsageError for a name that is none, PiyingError where the network is forbidden, the hub refuses, or the disk
    has no room.
    """
    config = store.member(name)
    if config is None and not store.is_hub_id(name):
        raise UsageError(f"name={name}: use a member of the family, e.g. cogvideox-2b, or a hub id, e.g. someone/model")
    hub_id = name if config is None else store.repository(config)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise PiyingError(f"{variable}={os.environ[variable]}: nothing is fetched; unset it to pull {name}")
    remote = _LOOK_UP[hub](hub_id)
    folder = store.downloads(name)
    made = Order(remote, remote.needed(), folder, store.unfinished(name))
    store.make(folder.parent)
    free, need = shutil.disk_usage(folder.parent).free, made.size - made.here
    if free < need:
        raise PiyingError(
            f"{name}: {need / 1e9:.1f} GB are needed in {folder.parent}, {free / 1e9:.1f} GB are free; "
            "make room, or set PIYING_HOME to a folder elsewhere"
        )
    return made


def carry_out(order: Order, advance: Callable[[int], None]) -> Path:
    """Fetches what is not here yet and puts the model in place; `advance` takes bytes as they come.

    Raises PiyingError; what arrived by then stays for the next try.
    """
    for file in order.files:
        target = order.partial / file.path
        if target.is_file():
            with suppress(PiyingError):  # an earlier revision's, deleted now
                verify(file, target)
        if not target.is_file():
            fetch(file, target, order.remote.headers, advance)
    if lack := diffusers_layout.lacking(order.partial):
        raise PiyingError(f"{order.remote.hub_id}: {lack} on the hub; this repository cannot be used")
    record = {
        "hub_id": order.remote.hub_id,
        "revision": order.remote.revision,
        "licence": order.remote.licence,
        "sha256": {file.path: file.sha256 for file in order.files if file.sha256},
    }
    (order.partial / RECORD).write_text(json.dumps(record, indent=2), "utf-8")
    order.partial.rename(order.folder)
    return order.folder
