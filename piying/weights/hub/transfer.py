"""One file from a server to the disk: goes on where it broke off, and counts only once its hash is right."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from piying.errors import PiyingError

_CHUNK = 2**20  # bytes
_PATIENCE = 60.0  # seconds that a server may be silent
_TRIES = 5  # in a row without a byte
_BROKEN = (OSError, http.client.HTTPException)  # what a connection dies of


@dataclass(frozen=True)
class RemoteFile:
    """A file on a hub. Its hash is SHA-256, or what git calls a small file."""

    path: str  # in the repository, with slashes
    size: int  # bytes
    url: str
    sha256: str | None = None
    git: str | None = None


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Takes the token along to the same server only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        onward = super().redirect_request(req, fp, code, msg, headers, newurl)
        if onward is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            onward.remove_header("Authorization")
        return onward


_opener = urllib.request.build_opener(_Redirect)


def fetch(file: RemoteFile, target: Path, headers: Mapping[str, str], advance: Callable[[int], None]) -> None:
    """Downloads a file to `target`. What an earlier call left in target.part is used; `advance` takes new bytes.

    Raises PiyingError where the server refuses, stays silent, or sends something else than announced; what arrived by
    then stays for the next call, unless it is wrong.
    """
    partial = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    tries = 0
    if not file.size:
        _append(partial, b"", "ab")  # there is nothing to receive
    while (have := partial.stat().st_size if partial.is_file() else 0) < file.size:
        try:
            _receive(file, partial, have, headers, advance)
            reason: object = "it ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise PiyingError(f"{file.path}: {refusal(error.code, file.url)}") from error
            reason = f"it answers {error.code}"
        except _BROKEN as error:
            reason = error
        came = (partial.stat().st_size if partial.is_file() else 0) > have
        tries = 0 if came else tries + 1
        if tries == _TRIES:
            raise PiyingError(f"{file.path}: the server broke off ({reason}); the same command goes on from here")
        if not came:
            time.sleep(2.0**tries)
    verify(file, partial)
    partial.replace(target)


def open_url(url: str, headers: Mapping[str, str]) -> Any:
    """The response of a server. Raises urllib's errors."""
    return _opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=_PATIENCE)


def refusal(code: int, url: str) -> str:
    """What a status means for who asked."""
    server = urlsplit(url).netloc
    if code in (401, 403):
        return f"{server} wants a token with access (status {code}): accept the licence on its page, and set HF_TOKEN"
    if code == 404:
        return f"{server} does not have it (status 404); check the name"
    return f"{server} refuses (status {code}); try later"


def _receive(
    file: RemoteFile, partial: Path, have: int, headers: Mapping[str, str], advance: Callable[[int], None]
) -> None:
    """Appends what the server sends to `partial`; begins anew where it cannot go on in the middle."""
    asked = {**headers, "Range": f"bytes={have}-"} if have else headers
    with open_url(file.url, asked) as response:
        resumed = response.status == 206
        if have and not resumed:
            advance(-have)
            have = 0
        mode = "ab" if resumed else "wb"
        while chunk := response.read(_CHUNK):
            have += len(chunk)
            if have > file.size:
                raise PiyingError(f"{file.path}: the server sends more than the {file.size} bytes it announced")
            _append(partial, chunk, mode)
            advance(len(chunk))
            mode = "ab"


def _append(path: Path, chunk: bytes, mode: str) -> None:
    try:
        with path.open(mode) as out:
            out.write(chunk)
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror}); make room, then pull again") from error


def verify(file: RemoteFile, path: Path) -> None:
    """Deletes what lies at `path` where its size or hash is not the file's, and raises PiyingError."""
    expected = file.sha256 or file.git
    found = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            found.update(chunk)
    size = path.stat().st_size
    if size == file.size and (expected is None or found.hexdigest() == expected):
        return
    path.unlink()
    what = f"its hash is {found.hexdigest()[:12]}, the hub says {str(expected)[:12]}"
    raise PiyingError(f"{file.path}: came damaged ({what}) and was deleted; pull again")
