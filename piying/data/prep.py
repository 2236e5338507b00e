"""Footage becomes a dataset folder, and everything that was decided on the way is laid open.

What was cut from a file stays in the folder; a second run decodes only what is new or changed, and then judges,
captions and lists everything anew. A clip that was deleted stays out. Footage of several folders may come into one
dataset, run by run.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av

from piying.config import ModelConfig
from piying.data import cutting, dataset, decisions, describe, lists, record, review
from piying.data.dataset import MEDIA, Clip, Member
from piying.data.decisions import Decision
from piying.data.footage import Unreadable
from piying.data.lint import lint
from piying.data.record import WORK, Cut, Record
from piying.data.sources import Source, Survey
from piying.errors import PiyingError, UsageError
from piying.files import digest
from piying.prompts.enhance import Ask
from piying.prompts.reader import Reader

SETTINGS = f"{WORK}/settings.json"
_ASIDE = f"{WORK}/new"  # the clips of a file, until all of them are there
_ATTEMPTS = 3  # failures of the captioner in a row, then it is left alone

Tell = Callable[[str], None]
Advance = Callable[[int], None]  # takes how many files are done


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    clips: tuple[Clip, ...]  # the kept ones
    decisions: dict[str, Decision]
    advice: dict[str, list[str]]
    broken: tuple[str, ...]  # files of which nothing could be used, and why
    notes: tuple[str, ...]
    review: Path
    undescribed: int = 0  # clips that a captioner left without a caption


def prep(
    found: Survey,
    folder: Path,
    model: str,
    config: ModelConfig,
    *,
    frames: int | None = None,
    reader: Reader | None = None,
    captioner: Callable[[], Ask] | None = None,
    tell: Tell,
    advance: Advance,
) -> Outcome:
    """Cuts what is new in the footage and assembles the folder anew, for a model and its configuration.

    `reader` counts the tokens of captions. The captioner is opened once there are clips without a caption.
    Raises UsageError where the folder is something else, PiyingError where the disk refuses: the files that were
    finished until then stay finished.
    """
    recipe = cutting.recipe(config, frames)
    _make(folder)
    dataset.write_whole(folder / SETTINGS, json.dumps({"model": model, "frames": frames}))
    for note in found.notes:
        tell(note)
    known = {entry.source: entry for entry in record.read_all(folder)}
    lost = [entry for entry in known.values() if not Path(entry.source).exists()]
    taken = {entry.prefix.lower(): 1 for entry in known.values()}
    edits, aside = decisions.edits(folder), None
    notes, broken = [*found.notes], list[str]()
    for number, source in enumerate(found.sources, 1):
        path, stamp = str(source.path.resolve()), _stamp(source.path)
        if path not in known and (moved := _moved(source.path, stamp, lost)):
            lost.remove(moved)
            known[path] = replace(known.pop(moved.source), source=path)
        before = known.get(path)
        if before and (stamp is None or (before.recipe == recipe.facts() and _same(source.path, stamp, before))):
            now = replace(before, stamp=stamp or before.stamp, captions=source.captions, episode=source.episode)
            record.write(folder, now)
        else:
            prefix = before.prefix if before else _prefix(source.episode, taken)
            try:
                made = _cut(source, stamp or (0, 0), prefix, recipe, folder)
            except Unreadable as error:
                told, line = (notes, f"{error}; its clips stay as they were") if before else (broken, str(error))
                told.append(line)
                tell(line)
            else:
                if before:
                    if not aside and (aside := decisions.aside(folder, edits, before)):
                        tell(f"{aside}: the table as it was; what you wrote in it holds for clips that are cut alike")
                    _discard(folder, before)
                _place(folder)
                record.write(folder, made)
                tell("; ".join([f"{source.path}: {len(made.cuts)} clips", *made.faults]))
        advance(number)
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)
    here = {str(source.path.resolve()) for source in found.sources}
    others = [
        f"{entry.source} is not in this footage; its clips are still as they were cut for another model or length"
        for entry in known.values()
        if entry.source not in here and entry.recipe != recipe.facts()
    ]
    for note in others:
        tell(note)
    notes += others
    outcome = assemble(folder, reader=reader, notes=notes, broken=broken)
    if captioner:
        left = _describe(folder, outcome, captioner, tell)
        outcome = replace(assemble(folder, reader=reader, notes=notes, broken=broken), undescribed=left)
    return outcome


def assemble(
    folder: Path,
    *,
    reader: Reader | None = None,
    notes: Sequence[str] = (),
    broken: Sequence[str] = (),
) -> Outcome:
    """Judges and lists what was cut. Nothing is decoded for it."""
    records, cast = record.read_all(folder), dataset.read_cast(folder)
    away = [
        f"{entry.source} is no longer there; its clips stay" for entry in records if not Path(entry.source).exists()
    ]
    unused = {
        entry.source: [said for said in entry.captions if not any(said.holds(cut.start, cut.end) for cut in entry.cuts)]
        for entry in records
    }
    notes = [*notes, *away] + [
        f"{source}: {len(lines)} captions are about less than half of any clip and go to none, e.g. {lines[0].text:.40}"
        for source, lines in unused.items()
        if lines
    ]
    cuts = [cut for entry in records for cut in entry.cuts]
    gone = {
        cut.file for cut in cuts if not any((folder / name / cut.file).is_file() for name in (MEDIA, lists.DROPPED))
    }
    settled = decisions.judge(records, _captions(folder, records), decisions.edits(folder), gone)
    lists.arrange(folder, {cut.file: settled[cut.id].keep for cut in cuts})
    advice = {
        cut.id: lint(settled[cut.id].captions, cast, reader, Path(entry.source).stem) if settled[cut.id].keep else []
        for entry in records
        for cut in entry.cuts
    }
    clips = [
        _clip(cut, entry, settled[cut.id], cast) for entry in records for cut in entry.cuts if settled[cut.id].keep
    ]
    lists.write(folder, clips, cast)
    decisions.write(folder, records, settled, advice)
    page = review.write(folder, records, settled, advice, [*broken, *notes])
    return Outcome(tuple(clips), settled, advice, tuple(broken), tuple(notes), page)


def made_for(folder: Path) -> tuple[str, int | None] | None:
    """The name of the model that a folder was made for, and the length of clips if one was asked for; None where the
    folder is no dataset of ours."""
    path = folder / SETTINGS
    if not path.is_file():
        return None
    settings = json.loads(path.read_text("utf-8"))
    return settings["model"], settings.get("frames")


def model_of(folder: Path) -> str:
    """The name of the model that a folder was made for. Raises UsageError where it is no dataset of ours."""
    made = made_for(folder)
    if made is None:
        raise UsageError(f"{folder}: no dataset; make one with piying prep FOOTAGE --out {folder}")
    return made[0]


def _make(folder: Path) -> None:
    """The folder and those in it. Raises UsageError where another thing stands there, PiyingError as the disk says."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / WORK).is_dir())):
        raise UsageError(f"out={folder}: exists already and was not made by piying prep; choose a new folder")
    try:
        for name in (WORK, MEDIA, lists.DROPPED, cutting.THUMBNAILS):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for left in (folder / name).glob(".*.part*"):  # by a run that was killed
                left.unlink()
    except OSError as error:
        raise PiyingError(f"out={folder}: cannot be written ({error.strerror})") from None


def _cut(source: Source, stamp: tuple[int, int], prefix: str, recipe: cutting.Recipe, folder: Path) -> Record:
    """What is cut from a file, laid aside. Raises Unreadable; PiyingError where the disk refuses."""
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)  # of a file that failed or a run that was killed
    for name in (MEDIA, cutting.THUMBNAILS):
        (folder / _ASIDE / name).mkdir(parents=True)
    try:
        return cutting.cut(source, stamp, prefix, recipe, folder / _ASIDE)
    except (av.FFmpegError, ValueError, AttributeError) as error:  # PyAV meets odd files with any of these
        raise Unreadable(f"{source.path}: cannot be read ({error})") from error


def _place(folder: Path) -> None:
    """What was laid aside comes into the folder."""
    for path in (folder / _ASIDE).glob("*/*"):
        os.replace(path, folder / path.relative_to(folder / _ASIDE))


def _discard(folder: Path, before: Record) -> None:
    """The clips of a file that is cut anew."""
    for cut in before.cuts:
        for path in (folder / MEDIA / cut.file, folder / lists.DROPPED / cut.file):
            path.unlink(missing_ok=True)
        (folder / cutting.THUMBNAILS / f"{cut.id}.jpg").unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Bytes, and nanoseconds of the last change; None where a link or a list leads nowhere."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _same(path: Path, stamp: tuple[int, int], before: Record) -> bool:
    """Whether a file is what was cut; one that was only copied or touched is."""
    return stamp == before.stamp or (stamp[0] == before.stamp[0] and digest(path) == before.sha256)


def _moved(path: Path, stamp: tuple[int, int] | None, lost: Sequence[Record]) -> Record | None:
    """The record of a file that is not where it was, if this is that file."""
    alike = (entry for entry in lost if stamp and entry.stamp[0] == stamp[0])
    return next((entry for entry in alike if entry.sha256 == digest(path)), None)


def _prefix(episode: str, taken: dict[str, int]) -> str:
    """A name for the clips of a file that no other file has. `taken` holds names in small letters, each with the last
    number that was put behind it."""
    stem = "-".join(re.findall(r"[\w-]+", episode))[:60] or "clip"  # file systems take 255 bytes
    name, number = stem, taken.get(stem.lower(), 1)
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken[stem.lower()] = number
    taken[name.lower()] = 1
    return name


def _captions(folder: Path, records: Sequence[Record]) -> dict[str, list[str]]:
    """What was written about each clip: by people, else by a captioner."""
    described = describe.kept(folder)
    found = {}
    for entry in records:
        for cut in entry.cuts:
            said = [caption.text for caption in entry.captions if caption.holds(cut.start, cut.end)]
            found[cut.id] = said or [text for text in [described.get(cut.sha256)] if text]
    return found


def _describe(folder: Path, outcome: Outcome, captioner: Callable[[], Ask], tell: Tell) -> int:
    """Captions for kept clips that have none. Returns how many are left where the captioner fails."""
    described = describe.kept(folder)  # also where a person wrote that a clip is to have no caption
    bare = [clip for clip in outcome.clips if not clip.captions and clip.sha256 not in described]
    if not bare:
        return 0
    ask, pictures = captioner(), list(describe.pictured(dataset.read_cast(folder), folder))
    left, failed = len(bare), 0
    for clip in bare:
        frames = describe.frames_of(folder / clip.media)
        try:
            caption = describe.describe(frames, pictures, ask)
        except PiyingError as error:
            failed += 1
            tell(f"{clip.id}: {error}")
            if failed == _ATTEMPTS:
                break
            continue
        left, failed = left - 1, 0
        describe.keep(folder, clip.sha256, caption)
        tell(f"{clip.id}: {caption}")
    return left


def _clip(cut: Cut, entry: Record, decision: Decision, cast: Sequence[Member]) -> Clip:
    return Clip(
        id=cut.id,
        media=f"{MEDIA}/{cut.file}",
        frames=cut.frames,
        fps=float(entry.recipe["fps"]),
        size=cut.size,
        captions=decision.captions,
        episode=entry.episode,
        sha256=cut.sha256,
        names=lists.names_in(decision.captions, cast),
        source=entry.source,
        start=cut.start,
        end=cut.end,
    )
