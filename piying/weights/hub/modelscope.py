"""A repository on ModelScope, by its HTTP interface. MODELSCOPE_DOMAIN counts as it does for its own tools."""

import json
import os
import urllib.error
from typing import Any
from urllib.parse import quote, urlencode

from piying.errors import PiyingError
from piying.weights import store
from piying.weights.hub.remote import Remote
from piying.weights.hub.transfer import RemoteFile, open_url, refusal

_REVISION = "master"
_HEADERS = {"User-Agent": "piying"}


def look_up(hub_id: str) -> Remote:
    """What a repository holds at this moment. Raises PiyingError where it cannot be had."""
    organisation, _, name = hub_id.partition("/")
    if organisation in store.ORGANISATIONS:
        hub_id = f"ZhipuAI/{name}"  # the authors' name there
    root = f"{domain()}/api/v1/models/{quote(hub_id)}"
    listed = _ask(f"{root}/repo/files?{urlencode({'Revision': _REVISION, 'Recursive': 'True'})}", hub_id)
    try:
        files = [
            RemoteFile(
                path=entry["Path"],
                size=entry["Size"],
                url=f"{root}/repo?{urlencode({'Revision': _REVISION, 'FilePath': entry['Path']})}",
                sha256=entry.get("Sha256") or None,
            )
            for entry in listed["Files"]
            if entry["Type"] != "tree"
        ]
    except (KeyError, TypeError) as error:
        raise PiyingError(
            f"{hub_id}: ModelScope's list of files has changed its form ({error}); pull without --from"
        ) from error
    licence = _ask(f"{root}?{urlencode({'Revision': _REVISION})}", hub_id).get("License")
    return Remote(hub_id, _REVISION, licence or None, files, _HEADERS)


def domain() -> str:
    """Where ModelScope is, with https:// before it where nothing is said."""
    name = os.environ.get("MODELSCOPE_DOMAIN", "www.modelscope.cn")
    return name if "://" in name else f"https://{name}"


def _ask(url: str, hub_id: str) -> dict[str, Any]:
    """The data of one answer."""
    try:
        with open_url(url, _HEADERS) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise PiyingError(f"{hub_id}: {refusal(error.code, url)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise PiyingError(f"{hub_id}: {domain()} cannot be reached ({reason}); see MODELSCOPE_DOMAIN") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("Data"), dict):
        said = answer.get("Message") if isinstance(answer, dict) else None
        raise PiyingError(f"{hub_id}: ModelScope refuses ({said or 'no data'}); check the name")
    return answer["Data"]
