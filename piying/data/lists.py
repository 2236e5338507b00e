"""The kept clips in the lists of a dataset folder: ours, and those that other trainers read.

Other trainers know no aliases, so their captions tell each of the cast by the token.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from piying.data import dataset
from piying.data.dataset import MEDIA, Clip, Member
from piying.errors import PiyingError
from piying.prompts.aliases import named, substitute

DROPPED = "dropped"


def names_in(captions: Sequence[str], cast: Sequence[Member]) -> tuple[str, ...]:
    """The ids of those of the cast whom any of the captions names."""
    ids = {word: member.id for member in cast for word in (*member.aliases, member.token)}
    return tuple(dict.fromkeys(name for caption in captions for name in named(caption, ids)))


def write(folder: Path, clips: Sequence[Clip], cast: Sequence[Member]) -> None:
    """clips.jsonl; metadata.jsonl; a text beside each clip; prompts.txt and videos.txt, which hold no images."""
    tokens = {alias: member.token for member in cast for alias in member.aliases}
    told = {clip.id: substitute(clip.captions[0], tokens) if clip.captions else "" for clip in clips}
    dataset.write_clips(folder, clips)
    metadata = [json.dumps({"file_name": clip.media, "text": told[clip.id]}, ensure_ascii=False) for clip in clips]
    moving = [clip for clip in clips if clip.frames > 1]
    _write_lines(folder / "metadata.jsonl", metadata)
    _write_lines(folder / "prompts.txt", [told[clip.id] for clip in moving])
    _write_lines(folder / "videos.txt", [clip.media for clip in moving])
    texts = {f"{Path(clip.media).stem}.txt": told[clip.id] for clip in clips if told[clip.id]}
    for stale in (folder / MEDIA).glob("*.txt"):
        if stale.name not in texts:
            stale.unlink()
    for name, text in texts.items():
        dataset.write_whole(folder / MEDIA / name, text + "\n")


def arrange(folder: Path, kept: Mapping[str, bool]) -> None:
    """Moves each file to the media or to what was dropped."""
    for name, keep in kept.items():
        media, dropped = folder / MEDIA / name, folder / DROPPED / name
        here, there = (media, dropped) if keep else (dropped, media)
        try:
            if there.is_file():
                os.replace(there, here)
        except OSError as error:
            raise PiyingError(f"{there}: cannot be moved ({error.strerror})") from None


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    dataset.write_whole(path, "".join(f"{line}\n" for line in lines))
