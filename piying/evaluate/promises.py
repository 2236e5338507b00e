"""From what was seen in the videos of a report to its rows and its verdict."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from piying.evaluate.asks import Ask
from piying.evaluate.intervals import Estimate, clustered, difference, mean, paired
from piying.evaluate.jury import NOBODY
from piying.evaluate.report import Measure, Promise, number, show

Finding = Mapping[str, Any]  # of a clip; see jury.py


@dataclass(frozen=True)
class Shown:
    """A clip: what it was asked for, and what was found in it. Clips of one `group` share their scene."""

    ask: Ask
    found: Finding
    group: int
    path: Path


Clips = Sequence[Shown]
Test = Callable[[Shown], bool]


@dataclass(frozen=True)
class Sets:
    """The clips of a report, by what they are."""

    named: Mapping[str, Clips]  # prompts with names: adapter, base, rendered, autoencoder, real
    plain: Mapping[str, Clips]  # prompts without

    def both(self, name: str) -> Clips:
        return [*self.named.get(name, ()), *self.plain.get(name, ())]


JUDGED = ("adapter", "base")
CEILINGS = ("rendered", "autoencoder", "real")


def rows(sets: Sets, cast: Sequence[str], style: str | None) -> list[Measure]:
    """What the theatre's judges decide. `style` is the unseen one that was learned, where nobody was."""
    single, pair = _of(sets.named, "named"), _of(sets.named, "pair")
    who = {name: [shown for shown in clips if shown.ask.names] for name, clips in single.items()}
    known, known_pair = _drawn(single), _drawn(pair)
    alone = [shown for shown in sets.plain.get("base", ()) if "subject2" not in shown.ask.told]  # as those of `single`
    table = []
    if cast:
        table.append(row("the one that was named is there, and it is that one", who, _is_there, at_least=0.9))
    if len(cast) > 1:
        table.append(row("two names in one prompt, both there", pair, _is_there, at_least=0.7))
        table.append(row("two names in one prompt, their motions swapped", known_pair, _swapped))
        table.append(_worst_pair(who))
    if style:
        table.append(row(f"{style} where it was asked for", known, _told("style"), at_least=0.95))
        table.append(row("the subject that was asked for, in that style", known, _is_there, at_least=0.9))
        table.append(
            row(f"{style} where it was not asked for", sets.plain, lambda shown: _style(shown) == style, at_most=0.02)
        )
    for fact in ("motion", "backdrop", *(() if style else ("style",))):
        test = _told(fact)
        table.append(row(f"{fact} right, with a name", known, test))
        table.append(behind(f"{fact} right, with a name, behind the base without", alone, single.get("adapter"), test))
    for fact in ("subject", "motion", "backdrop", "style"):
        test = _is_there if fact == "subject" else _told(fact)
        table.append(
            behind(
                f"{fact} right, without a name, behind the base",
                sets.plain.get("base"),
                sets.plain.get("adapter"),
                test,
            )
        )
    if cast:
        members = set(cast)
        table.append(
            row(
                "one of the cast appears without being named",
                sets.plain,
                lambda shown: _anyone(shown, members),
                at_most=0.02,
            )
        )
    table.append(_written(single.get("adapter", ()), _is_there if cast else _told("style")))
    return [measure for measure in table if measure.counted]


def _drawn(sets: Mapping[str, Clips]) -> dict[str, list[Shown]]:
    """Those whose facts are known; of real clips they are not."""
    return {name: [shown for shown in clips if shown.ask.told] for name, clips in sets.items()}


def embedded(sets: Sets, among: Collection[str]) -> list[Measure]:
    """What a vision model decides, where the footage is not the theatre's; `among` are those whom it can know again.

    Where somebody was named and none of them is such a one, the first row is there and nothing counts in it.
    """
    single, pairs = _of(sets.named, "named"), _of(sets.named, "pair")
    who, pair = (
        {name: [one for one in clips if one.ask.names and set(among).issuperset(one.ask.names)] for name, clips in of}
        for of in (single.items(), pairs.items())
    )
    table = [
        row("the one that was named is there, and it is that one", who, _is_near, at_least=0.9),
        average("place among real clips of the same character", single, "place", "rate"),
        row("two names in one prompt, both there", pair, _is_near, at_least=0.7),
        row(
            "one of the cast appears without being named",
            sets.plain if any(who.values()) else {},
            lambda shown: bool(shown.found.get("near")),
            at_most=0.02,
        ),
        average("style: place among real clips that were held out", single, "style_place", "rate"),
        average("prompt following: cosine of prompt and pictures", single, "follows", ""),
        average("prompt following without a name", sets.plain, "follows", ""),
        _written(who.get("adapter", ()), _is_near),
    ]
    blind = not table[0].counted and any(one.ask.names and not one.ask.told for one in single.get("adapter", ()))
    return [measure for measure in table if measure.counted or (blind and measure is table[0])]


def moved(sets: Sets) -> Measure:
    """How much pictures change; beside real clips too much is a flicker and too little a still."""
    return average("change from frame to frame, of 255", _of(sets.named, "named"), "moved", "")


def copied(clips: Mapping[str, Clips], distances: Mapping[str, Sequence[float]], share: float) -> list[Measure]:
    """Whether training clips come out again. `distances` of each set's clips to the nearest training clip."""
    held_out = distances.get("real", ())
    groups = {name: [shown.group for shown in clips[name]] for name in distances}
    found = {name: mean(values, groups[name]) for name, values in distances.items() if values}
    table = [_measure(Promise("distance to the nearest training clip (RMS of 0..1)", ""), found)]
    if held_out:
        near = share * min(held_out)
        rates = {
            name: clustered(_grouped(groups[name], [value < near for value in distances[name]]))
            for name in JUDGED
            if name in found
        }
        promise = Promise(
            f"copies: nearer to a training clip than {share:g} of the nearest held-out clip", "rate", at_most=0.02
        )
        table.append(_measure(promise, rates))
    return [measure for measure in table if measure.counted]


def row(
    name: str, clips: Mapping[str, Clips], test: Test, at_least: float | None = None, at_most: float | None = None
) -> Measure:
    """How often a test holds, by set."""
    rates = {key: _rate(clips[key], test) for key in (*JUDGED, *CEILINGS) if clips.get(key)}
    return _measure(Promise(name, "rate", at_least, at_most), rates)


def behind(name: str, base: Clips | None, adapter: Clips | None, test: Test) -> Measure:
    """The base's rate less the adapter's."""
    lost = {"adapter": _apart(base, adapter, test)} if base and adapter else {}
    return _measure(Promise(name, "points", at_most=0.03), lost)


def average(name: str, clips: Mapping[str, Clips], key: str, unit: Any) -> Measure:
    """The mean of a number that was found."""
    found = {
        which: [shown for shown in clips.get(which, ()) if shown.found.get(key) is not None]
        for which in (*JUDGED, *CEILINGS)
    }
    means = {
        which: mean([shown.found[key] for shown in those], [shown.group for shown in those])
        for which, those in found.items()
        if those
    }
    return _measure(Promise(name, unit), means)


def confusion(clips: Clips, cast: Sequence[str], seen: Sequence[str]) -> dict[str, dict[str, int]]:
    """Who was named -> who was seen; whoever is none of `seen` is nobody of them."""
    counts = {name: dict.fromkeys((*seen, NOBODY), 0) for name in cast}
    for shown in clips:
        if shown.ask.kind == "named" and shown.ask.names and shown.ask.names[0] in counts:
            who = next(iter(_present(shown)), NOBODY)
            counts[shown.ask.names[0]][who if who in seen else NOBODY] += 1
    return counts


def faults(shown: Shown) -> str:
    """`erwa in the place of dawa; motion left, not rise` for what was found otherwise than it was asked for."""
    present = _present(shown)
    lacking = [name for name in _wanted(shown) if name not in present] if {"cast", "near"} & shown.found.keys() else []
    strangers = [name for name in present if name not in _wanted(shown)]
    wrong = [f"{' and '.join(strangers) or NOBODY} in the place of {' and '.join(lacking)}"] if lacking else []
    for fact in ("motion", "backdrop", "style"):
        if fact in shown.ask.told and not _told(fact)(shown):
            told = [shown.ask.told[key] for key in (fact, f"{fact}2") if key in shown.ask.told]
            seen = " and ".join(_matched(shown)) if fact == "motion" else shown.found[fact]
            wrong.append(f"{fact} {seen}, not {' and '.join(told)}")
    return "; ".join(wrong)


def verdict(measures: Sequence[Measure]) -> list[str]:
    """The report in words: first whether what was promised was kept, then each promise."""
    promised = [measure for measure in measures if measure.met is not None]
    decided = [measure for measure in promised if measure.counted]
    lines = [f"Cannot be judged: {measure.promise.name}." for measure in promised if not measure.counted]
    for measure in decided:
        estimate = measure.estimates[measure.counted[0]]
        ends = Promise("", measure.promise.unit, measure.promise.at_least, measure.promise.at_most)
        sure = ends.is_kept(estimate.low) and ends.is_kept(estimate.high)
        surely_not = not ends.is_kept(estimate.low) and not ends.is_kept(estimate.high)
        word = "Kept" if measure.met else "Missed"
        doubt = "" if (sure if measure.met else surely_not) else "; so few videos leave it open"
        base = measure.estimates.get("base")
        beside = f", the base {number(base.value, measure.promise.unit)}" if base else ""
        lines.append(
            f"{word}: {measure.promise.name}, {show(estimate, measure.promise.unit)}{beside}; "
            f"promised was {measure.promise}{doubt}."
        )
    missed = sum(not measure.met for measure in decided)
    if not decided:
        return ["Nothing could be decided: no video was made, or nothing here can judge it.", *lines]
    kept = (
        "All that was promised was kept" if decided == promised else "Kept was what can be judged, but not all can be"
    )
    return [f"{missed} of {len(decided)} promises were missed." if missed else f"{kept}.", *lines]


def score(sets: Sets) -> dict[str, float]:
    """By what a checkpoint is chosen: identity (or style, where nobody was learned or can be known again), motion and
    backdrop with a name, less leakage without."""
    named, plain = sets.named.get("adapter", ()), sets.plain.get("adapter", ())
    known = [shown for shown in named if shown.ask.told]
    parts = {"named": _rate(named, _is_there if known else _is_near).value} if named else {}
    if any(shown.ask.told.get("style") and not shown.ask.names for shown in named):
        parts["named"] = _rate(named, _told("style")).value
    places = [shown.found["style_place"] for shown in named if shown.found.get("style_place") is not None]
    if places and not known and not any("near" in shown.found for shown in named):
        parts["named"] = sum(places) / len(places)
    for fact in ("motion", "backdrop"):
        if known:
            parts[fact] = _rate(known, _told(fact)).value
    total = sum(parts.values())
    if plain:
        cast = {name for shown in named for name in shown.ask.names}
        leaks = _rate(plain, lambda shown: _anyone(shown, cast) if shown.ask.told else bool(shown.found.get("near")))
        parts["leakage"] = leaks.value
        total -= leaks.value
    return parts | {"score": total}


def _measure(promise: Promise, found: Mapping[str, Estimate]) -> Measure:
    """What was found, by set: what was trained decides, beside the base, and the others are ceilings."""
    judged, ceilings = ({name: found[name] for name in names if name in found} for names in (JUDGED, CEILINGS))
    return Measure(promise, judged, ceilings, ("adapter",) if "adapter" in judged else ())


def _worst_pair(clips: Mapping[str, Clips]) -> Measure:
    """The two of the troupe that are taken for each other most."""
    promise = Promise("the one most often taken for another of the troupe", "rate", at_most=0.15)
    worst: dict[str, Estimate] = {}
    for key in (*JUDGED, *CEILINGS):
        groups: dict[tuple[str, str], list[Shown]] = defaultdict(list)
        asked = {shown.ask.names[0] for shown in clips.get(key, ())}
        for shown in clips.get(key, ()):
            for other in asked - {shown.ask.names[0]}:
                groups[shown.ask.names[0], other].append(shown)
        rates = [_rate(group, partial(_is_present, other)) for (_, other), group in groups.items()]
        if rates:
            worst[key] = max(rates, key=lambda rate: rate.value)
    return _measure(promise, worst)


def _written(clips: Clips, test: Test) -> Measure:
    """The alias beside the token, of those who were written in both ways."""
    ways = [[shown for shown in clips if shown.ask.written == way] for way in ("token", "alias")]
    both = set.intersection(*({shown.ask.names for shown in way} for way in ways))
    token, alias = ([shown for shown in way if shown.ask.names in both] for way in ways)
    promise = Promise("alias behind the token (Chinese behind English)", "points", at_most=0.03)
    found = {"adapter": _apart(token, alias, test)} if token and alias else {}
    return _measure(promise, found)


def _apart(a: Clips, b: Clips, test: Test) -> Estimate:
    """a's rate less b's: scene by scene, where they have scenes in common."""
    common = {shown.group for shown in a} & {shown.group for shown in b}
    if not common:
        return difference(_rate(a, test), _rate(b, test))
    ours, theirs = ([shown for shown in clips if shown.group in common] for clips in (a, b))
    return paired(_trials(ours, test), _trials(theirs, test))


def _rate(clips: Clips, test: Test) -> Estimate:
    return clustered(_trials(clips, test))


def _trials(clips: Clips, test: Test) -> list[list[bool]]:
    return _grouped([shown.group for shown in clips], [test(shown) for shown in clips])


def _grouped(groups: Sequence[int], trials: Sequence[bool]) -> list[list[bool]]:
    """Trials by scene, in the order of the scenes."""
    by_group: dict[int, list[bool]] = defaultdict(list)
    for group, trial in sorted(zip(groups, trials, strict=True)):
        by_group[group].append(trial)
    return list(by_group.values())


def _of(sets: Mapping[str, Clips], kind: str) -> dict[str, Clips]:
    return {name: [shown for shown in clips if shown.ask.kind == kind] for name, clips in sets.items()}


def _wanted(shown: Shown) -> tuple[str, ...]:
    told = tuple(shown.ask.told[key] for key in ("subject", "subject2") if key in shown.ask.told)
    return told or shown.ask.names


def _present(shown: Shown) -> Sequence[str]:
    return shown.found.get("cast", shown.found.get("near", ()))


def _is_there(shown: Shown) -> bool:
    wanted = _wanted(shown)
    return bool(wanted) and set(wanted) == set(shown.found["cast"])


def _is_near(shown: Shown) -> bool:
    return bool(shown.ask.names) and set(shown.ask.names) <= set(shown.found.get("near", ()))


def _is_present(name: str, shown: Shown) -> bool:
    return name in _present(shown)


def _anyone(shown: Shown, cast: set[str]) -> bool:
    return bool(cast & set(_present(shown)))


def _style(shown: Shown) -> str:
    return str(shown.found["style"])


def _told(fact: str) -> Test:
    """Whether a fact is found as it was told; of motions, those of all who were told of."""

    def test(shown: Shown) -> bool:
        told = shown.ask.told
        if fact != "motion":
            return bool(shown.found.get(fact) == told[fact])
        wanted = [told[key] for key in ("motion", "motion2") if key in told]
        return wanted == _matched(shown)

    return test


def _matched(shown: Shown) -> list[str]:
    """The motions of those who were told of, in their order; who is not there is taken for whoever is there instead."""
    found = list(zip(shown.found["cast"], shown.found["motions"], strict=True))
    wanted = _wanted(shown)
    strangers = [motion for name, motion in found if name not in wanted]
    there = dict(found)
    return [there[name] if name in there else strangers.pop(0) for name in wanted]


def _swapped(shown: Shown) -> bool:
    told = shown.ask.told
    first, second = told["motion"], told["motion2"]
    return _is_there(shown) and first != second and _matched(shown) == [second, first]
