"""Who is who: the cast is made and changed, checked against a model's tokenizer, and looked for in the captions."""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from piying.data import dataset
from piying.data.dataset import CAST, Clip, Member
from piying.errors import PiyingError, UsageError
from piying.prompts.aliases import substitute
from piying.prompts.reader import UNKNOWN, Reader
from piying.prompts.vocabulary import unknown_words
from piying.video import read_image

REFERENCES = "references"
_NAME = re.compile(r"(?<![\w'’])[A-Z][a-z]*(?:[A-Z][a-z]*)*(?:[ -][A-Z][a-z]+)*(?![\w])")
_PARTICLES = set("的在和与是了着正从向往把被里上中")  # what stands beside names and hardly in them
_FEWEST = 2  # clips that a name must stand in to be proposed
_TOGETHER = 0.8  # of the clips of either: two names that stand together so often are one in two languages


@dataclass(frozen=True)
class Proposal:
    """A name that stands in captions and is nobody's yet."""

    name: str
    aliases: tuple[str, ...]
    clips: int


def add(
    folder: Path,
    cast: Sequence[Member],
    token: str,
    *,
    aliases: Iterable[str] = (),
    class_word: str | None = None,
    references: Iterable[Path] = (),
) -> tuple[Member, ...]:
    """The cast with a new member, or with more about the one of that token or id. Pictures are copied into the folder.

    Raises UsageError for a collision or a picture that is none, before anything is copied.
    """
    old = next((member for member in cast if token.lower() in (member.token.lower(), member.id.lower())), None)
    member = old or Member(id=token.lower(), token=token)
    pictures = list(references)
    for picture in pictures:
        read_image(picture)
    member = replace(
        member,
        aliases=tuple(dict.fromkeys([*member.aliases, *(alias.strip() for alias in aliases)])),
        class_word=member.class_word if class_word is None else class_word,
    )
    changed = [member if other is old else other for other in cast] + ([] if old else [member])
    dataset.check_cast(changed, folder / CAST)
    copied = tuple(_copy(folder, member, picture) for picture in pictures)
    whole = replace(member, references=tuple(dict.fromkeys([*member.references, *copied])))
    return tuple(whole if other is member else other for other in changed)


def remove(folder: Path, cast: Sequence[Member], name: str) -> tuple[Member, ...]:
    """The cast without one, named by id or token. Raises UsageError where there is no such member."""
    left = tuple(member for member in cast if name.lower() not in (member.id.lower(), member.token.lower()))
    if len(left) == len(cast):
        known = ", ".join(member.id for member in cast) or "nobody"
        raise UsageError(f"remove={name}: not in {folder / CAST}, which has {known}")
    return left


def check(folder: Path, cast: Sequence[Member], reader: Reader) -> None:
    """Raises UsageError for a token that the model cannot read or knows as a word of its own, or a missing picture."""
    for member in cast:
        if UNKNOWN in reader.encode(member.token):
            raise UsageError(f"token={member.token}: {reader.name} reads it as <unk>; use other letters")
        if reader.words is not None and not unknown_words(member.token, reader.words):
            raise UsageError(f"token={member.token}: {reader.name} knows this as a word; choose a name, e.g. DaWa")
        for picture in member.references:
            if not (folder / picture).is_file():
                raise UsageError(f"{folder / CAST}: {member.id} refers to {picture}, which is not there")


def proposals(clips: Sequence[Clip], cast: Sequence[Member], reader: Reader | None) -> list[Proposal]:
    """Names in the captions that nobody has, the most frequent first.

    Latin ones are words with a capital that is not that of a sentence's beginning; Chinese ones stand in the same clips
    as a Latin one or, for a model of a small world, hold a character that it never learned.
    """
    words = {word: "" for member in cast for word in (*member.aliases, member.token)}
    texts = {clip.id: substitute("\n".join(clip.captions), words) for clip in clips}
    latin = _latin(texts)
    grams = _grams(texts)
    found: list[Proposal] = []
    paired: list[str] = []
    for name, where in latin.items():
        alike = {gram: len(where & there) / len(where | there) for gram, there in grams.items() if gram not in paired}
        best = max(alike, key=lambda gram: (alike[gram], len(gram)), default="")
        aliases = (best,) if best and alike[best] >= _TOGETHER else ()
        paired += aliases
        found.append(Proposal(name, aliases, len(where)))
    if reader is not None and reader.words is not None:
        strange = set("".join(unknown_words("\n".join(texts.values()), reader.words)))
        found += _strange(texts, strange, paired)
    return sorted((one for one in found if one.clips >= _FEWEST), key=lambda one: -one.clips)


def _latin(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """The clips of each Latin name."""
    inside: dict[str, set[str]] = {}
    begun: dict[str, set[str]] = {}  # at a sentence's beginning, where any word has a capital
    for clip, text in texts.items():
        for name, begins in _names(text):
            (begun if begins else inside).setdefault(name, set()).add(clip)
    return {name: where | begun.get(name, set()) for name, where in sorted(inside.items())}


def _grams(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """The clips of each run of two to four Chinese characters that stands in several."""
    found: dict[str, set[str]] = {}
    for clip, text in texts.items():
        for gram in _grams_of(text):
            found.setdefault(gram, set()).add(clip)
    return {gram: where for gram, where in found.items() if len(where) >= _FEWEST and not set(gram) & _PARTICLES}


def _grams_of(text: str) -> list[str]:
    runs = re.findall(r"[\u3400-\u9fff]+", text)
    return [run[at : at + size] for run in runs for size in (2, 3, 4) for at in range(len(run) - size + 1)]


def _strange(texts: Mapping[str, str], strange: set[str], paired: Iterable[str]) -> list[Proposal]:
    """Runs with a strange character: the most frequent one, then the most frequent of what it leaves, and so on."""
    left = {clip: substitute(text, dict.fromkeys(paired, "")) for clip, text in texts.items()}
    grams = {gram: where for gram, where in _grams(left).items() if strange & set(gram)}
    found = []
    while name := max(grams, key=lambda gram: (len(grams[gram]), len(gram)), default=""):
        found.append(Proposal(name, (), len(grams[name])))
        for clip in list(grams[name]):
            before, left[clip] = _grams_of(left[clip]), left[clip].replace(name, "\n")
            for gram in grams.keys() & set(before).difference(_grams_of(left[clip])):
                grams[gram].discard(clip)
                if len(grams[gram]) < _FEWEST:
                    del grams[gram]
    return found


def _names(caption: str) -> Iterable[tuple[str, bool]]:
    """Words with a capital, and whether they only begin a sentence. DaWa is a name wherever it stands; of Then Snake
    Lady the first word may be none."""
    for match in _NAME.finditer(caption):
        before = caption[: match.start()].rstrip(" \"'“‘(")
        begins = not before or before[-1] in ".!?:\n。！？："
        yield match[0], begins and re.search(r"[a-z][A-Z]", match[0]) is None
        if begins and " " in match[0]:
            yield match[0].partition(" ")[2], True


def _copy(folder: Path, member: Member, picture: Path) -> str:
    """The path of the copy, relative to the folder; a picture that lies in it already stays where it is."""
    if picture.resolve().is_relative_to(folder.resolve()):
        return picture.resolve().relative_to(folder.resolve()).as_posix()
    number, name = 1, ""
    while not name or (folder / name).exists():
        name, number = f"{REFERENCES}/{member.id}-{number}{picture.suffix.lower()}", number + 1
    try:
        (folder / REFERENCES).mkdir(exist_ok=True)
        shutil.copyfile(picture, folder / name)
    except OSError as error:
        raise PiyingError(f"{folder / name}: cannot be written ({error.strerror})") from None
    return name
