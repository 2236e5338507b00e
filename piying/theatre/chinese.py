"""How facts of the theatre are said in Chinese."""

import random
from collections.abc import Mapping

from piying.theatre import phrases_zh as zh
from piying.theatre.facts import cast
from piying.theatre.scene import TROUPE

SPOTS = {  # how often a fact stands in front of the sentence, after 在 inside it, and on its own behind it
    "light": (3, 0, 2),
    "weather": (1, 1, 3),
    "backdrop": (3, 6, 1),
    "camera": (0, 0, 1),
    "style": (0, 0, 1),
}
LONGEST = 63  # characters: nano's text encoder reads 64, one of them the end mark


def tell(told: Mapping[str, str], rng: random.Random) -> str:
    """One of the many ways to say the told facts, and nothing else, in at most `LONGEST` characters."""
    while True:
        prose = (cast(told) or "backdrop" in told) and rng.random() < 0.8
        text = _prose(told, rng) if prose else _keywords(told, rng)
        if len(text) <= LONGEST:
            return text


def _prose(told: Mapping[str, str], rng: random.Random) -> str:
    """一艘红色的小纸船在海上向左漂，下着雨，镜头缓缓推近。"""
    scene = {key: told[key] for key in SPOTS if key in told}
    endings = cast(told)
    moving = "motion" in told
    title, paper = "", False
    if "style" in scene and rng.random() < 0.6:
        style = scene.pop("style")
        paper = style == "paper" and "subject" in told and rng.random() < 0.5
        if not paper:
            title = rng.choice(zh.STYLES[style]) + rng.choice("：：，")

    measured = rng.random() < 0.75
    figures = [_figure(told, n, measured, paper, rng) for n in endings]
    motions = [_motion(told.get("subject" + n, ""), told["motion" + n], rng) for n in endings if moving]
    if not endings:
        figures = [rng.choice(zh.PLACES[scene.pop("backdrop")])]
    elif len(endings) == 1 and moving and told["motion"] in zh.WAYS and "backdrop" in scene and rng.random() < 0.25:
        motions = [_way(told.get("subject", ""), told["motion"], scene.pop("backdrop"), rng)]

    front: list[str] = []
    inside: list[str] = []
    after: list[str] = []
    for key, value in scene.items():
        spot = rng.choices((front, inside, after), SPOTS[key])[0]
        if spot is inside and (inside or not endings or len(motions) == 2):
            spot = front
        if spot is not after:
            spot.append(rng.choice(zh.ADVERBS[key][value]))
        elif moving and value == f"pan_{told['motion']}" and len(endings) == 1 and rng.random() < 0.4:
            spot.append(zh.FOLLOWS[value])
        else:
            spot.append(rng.choice(zh.CLAUSES[key][value]))

    if len(motions) == 2:
        first, second = (figure + motion for figure, motion in zip(figures, motions, strict=True))
        main = rng.choice(zh.PAIRS).format(first=first, second=second)
    elif motions:
        now = zh.NOW if told["motion"] != "still" and rng.random() < 0.15 else ""
        main = figures[0] + now + "".join(zh.IN + place for place in inside) + motions[0]
    else:
        main = figures[0] if len(figures) == 1 else zh.BOTH.format(first=figures[0], second=figures[1])
        if inside:
            main = rng.choice(zh.HERE).format(main=main, place=inside[0])
    joint = rng.choice("，，，；。") if after else "，"
    text = title + joint.join(("，".join((*front, main)), *after))
    return text + "。" if joint == "。" or rng.random() < (0.6 if moving else 0.2) else text


def _keywords(told: Mapping[str, str], rng: random.Random) -> str:
    """白马向左奔跑，雪地，黄昏，皮影戏"""
    measured = rng.random() < 0.5
    actors = [
        _figure(told, n, measured, False, rng)
        + (_motion(told.get("subject" + n, ""), told["motion" + n], rng) if "motion" + n in told else "")
        for n in cast(told)
    ]
    scene = [rng.choice(zh.KEYWORDS[key][told[key]]) for key in SPOTS if key in told]
    rng.shuffle(scene)
    return rng.choice("，，、").join(actors + scene if rng.random() < 0.8 else scene + actors)


def _figure(told: Mapping[str, str], n: str, measured: bool, paper: bool, rng: random.Random) -> str:
    """一艘红色的小船, 一艘小红船, or 一艘小小的红船; or without its measure word."""
    subject, colour, size = (told.get(key + n, "") for key in ("subject", "colour", "size"))
    person = subject in ("girl", "boy")
    noun = rng.choice(zh.NOUNS.get(subject, zh.ANY_NOUN))
    prefix = (zh.BUILDS if person else zh.PREFIXES)[size] if size else ""
    long = rng.choice((zh.STATURES if person else zh.SIZES)[size]) + zh.OF if size else ""
    if subject in TROUPE:
        return long + noun
    if paper:
        noun = (zh.CUTOUT if person else zh.PAPER) + noun
    tint = zh.TINTS[colour] if colour else ""
    full = rng.choice(zh.COLOURS[colour]) + zh.OF if colour else ""
    if person and colour and rng.random() < 0.7:
        full = rng.choice(zh.DRESS).format(tint=tint)
    if person or len(noun) > 2:
        tint = full
    near = prefix + tint if len(tint) == 1 else tint + prefix
    measure = rng.choice(zh.MEASURES.get(subject, zh.ANY_MEASURE)) if measured else ""
    return measure + rng.choice((full + prefix, near, long + tint)) + noun


def _motion(subject: str, motion: str, rng: random.Random) -> str:
    phrases = zh.MOTIONS[motion]
    for subjects, further in zh.FURTHER:
        if subject in subjects:
            phrases += further.get(motion, ())
    gait = rng.choice(zh.GAITS.get(subject, zh.ANY_GAIT))
    long_gait = rng.choice(zh.LONG_GAITS.get(subject, zh.ANY_LONG_GAIT) + zh.ANY_LONG_GAIT)
    going = rng.choice((gait, gait + zh.AWAY, long_gait))
    return rng.choice(phrases).format(gait=gait, going=going)


def _way(subject: str, motion: str, backdrop: str, rng: random.Random) -> str:
    """向左跑过雪地"""
    return zh.WAYS[motion].format(
        gait=rng.choice(zh.GAITS.get(subject, zh.ANY_GAIT)), place=rng.choice(zh.PLACES[backdrop])
    )
