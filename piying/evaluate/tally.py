"""From what judges saw to the rates of a report."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from piying.evaluate.intervals import Estimate, clustered, difference
from piying.evaluate.prompts import Case
from piying.evaluate.report import Measure, Promise
from piying.evaluate.sight import ATTRIBUTES, Sight, attribute_of

FIT = 0.99  # what a judge must score on rendered clips before it decides
PAIR = ("subject", "subject2", "colour", "colour2", "motion", "motion2")
ATTRIBUTE_PROMISES = {
    "subject": Promise("subject right", "rate", at_least=0.92),
    "colour": Promise("colour right", "rate", at_least=0.98),
    "motion": Promise("motion right", "rate", at_least=0.97),
    "camera": Promise("camera right", "rate", at_least=0.92),
    "backdrop": Promise("backdrop right", "rate", at_least=0.98),
    "style": Promise("style right", "rate", at_least=0.98),
    "weather": Promise("weather right", "rate", at_least=0.98),
    "light": Promise("light right", "rate"),
    "size": Promise("size right", "rate"),
}


@dataclass(frozen=True)
class Judged:
    """A clip: what it was to show, and what each judge saw."""

    case: Case
    sights: Mapping[str, Sight]

    def answers(self, judge: str) -> dict[str, str]:
        return self.sights[judge].answers(self.case.told)


Rate = Callable[[Sequence[Judged], str], Estimate | None]  # clips, judge -> None where it does not judge this


def measures(clips: Sequence[Judged], rendered: Sequence[Judged]) -> list[Measure]:
    """The rows that judges decide: of generated clips, with the same of rendered clips as the judges' ceilings."""
    table: dict[Promise, Rate] = {promise: partial(_accuracy, name) for name, promise in ATTRIBUTE_PROMISES.items()}
    table[Promise("everything in a one-subject prompt right", "rate", at_least=0.85)] = everything
    table[Promise("two subjects, each with its colour and motion", "rate", at_least=0.75)] = two_subjects
    table[Promise("held-out compositions behind seen ones", "points", at_most=0.03)] = composition
    table[Promise("Chinese and English apart, worst attribute", "points", at_most=0.02)] = languages
    table[Promise("the same subject and colour from start to end", "rate", at_least=0.97)] = steady
    return [row(promise, measure, clips, rendered) for promise, measure in table.items()]


def row(promise: Promise, measure: Rate, clips: Sequence[Judged], rendered: Sequence[Judged]) -> Measure:
    """One row: decided by the judges that are fit for it, or by all where none is."""
    estimates, ceilings = _by_judge(measure, clips), _by_judge(measure, rendered)
    fit = tuple(judge for judge in estimates if judge in ceilings and ceilings[judge].value >= FIT)
    return Measure(promise, estimates, ceilings, fit or tuple(estimates))


def accuracies(clips: Sequence[Judged], judge: str) -> dict[str, Estimate]:
    """How often each attribute is seen as it was told."""
    right: dict[str, list[tuple[Judged, bool]]] = {name: [] for name in ATTRIBUTES}
    for clip in clips:
        for key, seen in clip.answers(judge).items():
            right[attribute_of(key)].append((clip, clip.case.told[key] == seen))
    return {name: _rate(found) for name, found in right.items() if found}


def confusion(clips: Sequence[Judged], judge: str) -> dict[str, dict[str, dict[str, int]]]:
    """Attribute -> told value -> seen value -> clips."""
    return {
        name: {told: {seen: pairs[told, seen] for seen in ATTRIBUTES[name]} for told in ATTRIBUTES[name]}
        for name, pairs in _pairs(clips, judge).items()
    }


def agreement(clips: Sequence[Judged]) -> dict[str, Estimate]:
    """How often the judges see the same, two by two, by attribute. One alone agrees with nobody."""
    same: dict[str, list[tuple[Judged, bool]]] = defaultdict(list)
    for clip in clips:
        for first, second in combinations([clip.answers(judge) for judge in clip.sights], 2):
            for key in first.keys() & second.keys():
                same[attribute_of(key)].append((clip, first[key] == second[key]))
    return {name: _rate(same[name]) for name in ATTRIBUTES if name in same}


def shuffled(clips: Sequence[Judged]) -> list[Judged]:
    """The clips against the prompts of others in their group: what chance and habit score."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for clip in clips:
        groups[f"{clip.case.group} {clip.case.language}"].append(clip)
    return [
        Judged(other.case, clip.sights)
        for group in groups.values()
        for clip, other in zip(group, group[1:] + group[:1], strict=True)
    ]


def alone(clips: Sequence[Judged]) -> list[Judged]:
    return [clip for clip in clips if clip.case.group != "two"]


def _accuracy(name: str, clips: Sequence[Judged], judge: str) -> Estimate | None:
    """One attribute in clips of one subject."""
    return accuracies(alone(clips), judge).get(name)


def everything(clips: Sequence[Judged], judge: str) -> Estimate | None:
    """Every told fact right, in clips of one subject."""
    return _all_right([(clip, clip.case.told) for clip in alone(clips)], judge)


def two_subjects(clips: Sequence[Judged], judge: str) -> Estimate | None:
    return _all_right(
        [
            (clip, {key: value for key, value in clip.case.told.items() if key in PAIR})
            for clip in clips
            if "subject2" in clip.case.told
        ],
        judge,
    )


def composition(clips: Sequence[Judged], judge: str) -> Estimate | None:
    """Everything right with seen compositions, less the same with a held-out one."""
    seen, held_out = (
        everything([clip for clip in clips if clip.case.group == group], judge) for group in ("seen", "held_out")
    )
    return difference(seen, held_out) if seen and held_out else None


def languages(clips: Sequence[Judged], judge: str) -> Estimate | None:
    """The largest distance between the languages over the attributes."""
    english, chinese = (
        accuracies([clip for clip in clips if clip.case.language == language], judge) for language in ("en", "zh")
    )
    pairs = [(english[name], chinese[name]) for name in english if name in chinese]
    return max(
        (difference(*sorted(pair, key=lambda found: -found.value)) for pair in pairs),
        key=lambda found: found.value,
        default=None,
    )


def steady(clips: Sequence[Judged], judge: str) -> Estimate | None:
    seen = [(clip, steady) for clip in clips if (steady := clip.sights[judge].steady) is not None]
    return _rate(seen) if seen else None


def _all_right(told: Sequence[tuple[Judged, Mapping[str, str]]], judge: str) -> Estimate | None:
    """Of clips and told facts; None where a judge leaves one open."""
    answers = [clip.answers(judge) for clip, _ in told]
    if not told or any(facts.keys() - seen.keys() for (_, facts), seen in zip(told, answers, strict=True)):
        return None
    return _rate(
        [
            (clip, all(seen[key] == facts[key] for key in facts))
            for (clip, facts), seen in zip(told, answers, strict=True)
        ]
    )


def _rate(found: Sequence[tuple[Judged, bool]]) -> Estimate:
    """Of clips, those of one scene in a group: both languages start from the same noise."""
    groups: dict[int, list[bool]] = defaultdict(list)
    for clip, holds in found:
        groups[clip.case.scene.seed].append(holds)
    return clustered(list(groups.values()))


def _pairs(clips: Sequence[Judged], judge: str) -> dict[str, Counter[tuple[str, str]]]:
    """Attribute -> (told, seen) -> clips, in the order of ATTRIBUTES."""
    pairs: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in ATTRIBUTES}
    for clip in clips:
        for key, seen in clip.answers(judge).items():
            pairs[attribute_of(key)][clip.case.told[key], seen] += 1
    return {name: counts for name, counts in pairs.items() if counts}


def _by_judge(measure: Rate, clips: Sequence[Judged]) -> dict[str, Estimate]:
    judges = clips[0].sights if clips else ()
    return {judge: found for judge in judges if (found := measure(clips, judge)) is not None}
