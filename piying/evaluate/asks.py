"""The prompts that an adapter is asked: with the names that it learned, and without them.

For the theatre they are drawn, so that all that a video should show is known; for other footage they are captions of
what was held out, and as many scenes that hardly any footage has. More of them begin with the same.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Literal, TypeVar

from piying.data.dataset import Dataset, Member
from piying.errors import UsageError
from piying.prompts.aliases import named, substitute
from piying.theatre import phrases_en, phrases_zh
from piying.theatre.captions import Language, tell
from piying.theatre.casting import SEED_BITS, draw
from piying.theatre.facts import facts
from piying.theatre.scene import STYLES, SUBJECTS, TROUPE, UNSEEN_STYLES, Scene, Style, Subject, Troupe, UnseenStyle

Kind = Literal["named", "pair", "plain"]
Written = Literal["token", "alias"]
AnyStyle = Style | UnseenStyle
Turn = tuple[str, tuple[str, ...], Written]  # what is told, whom it names, and how
T = TypeVar("T")

LANGUAGES: dict[Written, Language] = {"token": "en", "alias": "zh"}
PAIRS = 4  # every so manieth scene has two of the cast
SITUATIONS = (
    "{} walks along a beach at sunset",
    "{} rides a bicycle through a rainy city at night",
    "{} sits in a library and reads a thick book",
    "{} climbs a snowy mountain under a clear sky",
    "{} dances on a stage before a cheering crowd",
    "{} rows a small boat over a quiet lake in the morning mist",
    "{} cooks noodles in a busy kitchen",
    "{} runs through a field of sunflowers",
    "{} looks out of the window of a moving train",
    "{} plays a piano in an empty hall",
    "{} feeds pigeons on a wide square",
    "{} flies a kite on a green hill on a windy day",
    "{} repairs an old radio at a cluttered desk",
    "{} walks through a market full of lanterns",
    "{} swims under water among colourful fish",
    "{} rides a horse across the desert",
    "{} waves from a balcony with flowers",
    "{} paints a picture in a garden",
    "{} stands in falling snow beneath a street lamp",
    "{} jumps over a stream in a bamboo forest",
    "{} drinks tea in a wooden teahouse",
    "{} skates on a frozen river",
    "{} carries a basket up a long stone stairway",
    "{} watches fireworks from a roof",
)


@dataclass(frozen=True)
class Ask:
    """A prompt, and what it promises."""

    prompt: str  # as a person writes it
    kind: Kind
    names: tuple[str, ...]  # ids of the cast that it names
    written: Written
    told: Mapping[str, str] = field(default_factory=dict)  # every fact, where they are known
    drawn: Scene | None = None
    first: Path | None = None  # the picture that the video begins with

    @property
    def scene(self) -> Scene:
        """What the theatre would draw."""
        assert self.drawn
        return self.drawn


def styles_of(dataset: Dataset) -> tuple[AnyStyle, ...]:
    """The theatre's styles that the captions name; its own five where they name none."""
    captions = " ".join(caption.lower() for clip in dataset.clips for caption in clip.captions)
    known: tuple[AnyStyle, ...] = (*STYLES, *UNSEEN_STYLES)
    said = [
        style
        for style in known
        if any(phrase.lower() in captions for phrase in (*phrases_en.STYLES[style], *phrases_zh.STYLES[style]))
    ]
    return tuple(said) or STYLES


def theatre(dataset: Dataset, count: int, key: str = "report") -> dict[Kind, list[Ask]]:
    """So many prompts with a name (where the dataset has a cast; else with its style), and so many without.

    Prompts 2i and 2i + 1 tell one scene, with the token in English and with the alias in Chinese. Raises UsageError
    where one of the cast is not of the troupe.
    """
    for member in dataset.cast:
        if member.id not in TROUPE:
            raise UsageError(f"{member.id}: not of the theatre's troupe, which is {', '.join(TROUPE)}")
    asked: dict[Kind, list[Ask]] = {"named": [], "plain": []}
    for i in range((count + 1) // 2):
        dice = random.Random(f"{key} {i}")
        scene = _scene(dataset, styles_of(dataset), i, dice)
        asked["named"] += _told(dataset, scene, "pair" if len(scene.actors) > 1 else "named", dice)
        asked["plain"] += _told(dataset, _without(dataset, scene, i, dice), "plain", dice)
    return {kind: asks[:count] for kind, asks in asked.items()}


def footage(dataset: Dataset, held_out: Sequence[str], count: int, among: Collection[str]) -> dict[Kind, list[Ask]]:
    """So many prompts with a name and without: as many captions of the clips `held_out` (ids), spread over all of them,
    as situations; situations alone where no caption is left, and captions alone where there is no cast.

    Of the cast those `among` (ids) are asked for, or all where that is nobody: one after another, each in turn with the
    token and, where they have one, an alias. Raises UsageError where there is neither a cast nor a caption.
    """
    captions = list(dict.fromkeys(c for clip in dataset.clips if clip.id in held_out for c in clip.captions[:1]))
    tokens = {word: member.id for member in dataset.cast for word in (member.token, *member.aliases)}
    said = {caption: tuple(named(caption, tokens)) for caption in spread(captions)}
    cast = [member for member in dataset.cast if member.id in among] or dataset.cast
    if not cast and not captions:
        raise UsageError(f"{dataset.folder}: neither a cast nor a caption of a held-out clip, so nothing can be asked")
    turns = _turns(cast, said, count)
    return {
        "named": [
            Ask(_written(dataset, text, written), "pair" if len(names) > 1 else "named", names, written)
            for text, names, written in turns
        ],
        "plain": [Ask(_unnamed(dataset, text), "plain", (), "token") for text, _, _ in turns],
    }


def spread(items: Sequence[T]) -> list[T]:
    """The same in an order of which every beginning is spread evenly over them: by the bits of their places, reversed
    (van der Corput 1935)."""
    return [items[place] for place in sorted(range(len(items)), key=lambda place: f"{place:032b}"[::-1])]


def _turns(cast: Sequence[Member], said: Mapping[str, tuple[str, ...]], count: int) -> list[Turn]:
    """By turns of each member a caption, a situation, a situation and a caption, so that both are written both ways;
    without a cast the captions."""
    if not cast:
        return [(caption, (), "token") for caption in list(said)[:count]]
    ids, aliased = {member.id for member in cast}, {member.id for member in cast if member.aliases}
    waiting = {caption: names for caption, names in said.items() if ids.issuperset(names)}
    starts = [len(SITUATIONS) * place // len(cast) for place in range(len(cast))]
    situations = [cycle(SITUATIONS[start:] + SITUATIONS[:start]) for start in starts]
    turns: list[Turn] = []
    for i in range(count):
        turn, place = divmod(i, len(cast))
        member, real = cast[place], (place + (turn + 1) // 2) % 2 == 0
        caption = next((caption for caption, names in waiting.items() if real and member.id in names), None)
        names = waiting.pop(caption) if caption else (member.id,)
        written: Written = "alias" if turn % 2 and aliased.issuperset(names) else "token"
        turns.append((caption or next(situations[place]).format(member.token), names, written))
    return turns


def _scene(dataset: Dataset, styles: Sequence[AnyStyle], i: int, dice: random.Random) -> Scene:
    """Members take turns; every fourth scene has two of them."""
    cast: list[Troupe | Subject] = [who for member in dataset.cast for who in TROUPE if who == member.id]
    pair = len(cast) > 1 and i % PAIRS == PAIRS - 1
    if not cast:
        who: Sequence[Troupe | Subject] = SUBJECTS
        styles = [style for style in styles if style in UNSEEN_STYLES] or styles
    else:
        who = cast if pair else [cast[(i - i // PAIRS if len(cast) > 1 else i) % len(cast)]]
    scene = draw(dice, "any", cast=who, styles=styles, actors=2 if pair else 1)
    return replace(scene, seed=scene.seed + 2**SEED_BITS)


def _without(dataset: Dataset, scene: Scene, i: int, dice: random.Random) -> Scene:
    """The scene with the base's own puppets: by turns what the character is one of, and any other; and in a style of
    the base."""
    subjects: list[Subject] = []
    for n, actor in enumerate(scene.actors):
        word = next((member.class_word for member in dataset.cast if member.id == actor.subject), "")
        alike = [subject for subject in SUBJECTS if subject == word and i % 2 == 0 and n == 0]
        subjects += alike or dice.sample([subject for subject in SUBJECTS if subject not in subjects], 1)
    styles = [style for style in STYLES if style == scene.style] or list(STYLES)
    other = draw(dice, "any", cast=subjects, styles=styles, actors=2 if len(subjects) > 1 else 1)
    actors = tuple(replace(a, motion=b.motion, size=b.size) for a, b in zip(other.actors, scene.actors, strict=True))
    return replace(scene, actors=actors, style=other.style)


def _told(dataset: Dataset, scene: Scene, kind: Kind, dice: random.Random) -> list[Ask]:
    told = facts(scene)
    cast = {member.id for member in dataset.cast}
    names = tuple(actor.subject for actor in scene.actors if actor.subject in cast)
    return [
        Ask(_written(dataset, tell(told, language, dice), written), kind, names, written, told, scene)
        for written, language in LANGUAGES.items()
    ]


def _written(dataset: Dataset, text: str, written: Written) -> str:
    """The text with each name as the token, or as an alias that is not Latin where there is one."""
    words: dict[str, str] = {}
    for member in dataset.cast:
        others = [alias for alias in member.aliases if not alias.isascii()] or list(member.aliases) or [member.token]
        usual: list[str] = []
        if member.id in TROUPE:
            usual = [*phrases_en.NOUNS[member.id], *phrases_zh.NOUNS[member.id]]
        word = member.token if written == "token" else others[0]
        words |= dict.fromkeys((member.token, *member.aliases, *usual), word)
    return substitute(text, words)


def _unnamed(dataset: Dataset, text: str) -> str:
    """The text with a class word for each name."""
    return substitute(
        text, {word: _class(member) for member in dataset.cast for word in (member.token, *member.aliases)}
    )


def _class(member: Member) -> str:
    return member.class_word or "someone"
