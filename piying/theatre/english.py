"""How facts of the theatre are said in English."""

import random
from collections.abc import Mapping

from piying.theatre import phrases_en as en
from piying.theatre.facts import cast
from piying.theatre.scene import TROUPE

SPOTS = {  # how often a fact stands in front of the sentence, at its tail, and on its own behind it
    "backdrop": (2, 6, 1),
    "light": (2, 5, 2),
    "weather": (1, 5, 3),
    "style": (0, 0, 1),
    "camera": (0, 1, 4),
}


def tell(told: Mapping[str, str], rng: random.Random) -> str:
    """One of the many ways to say the told facts, and nothing else."""
    prose = (cast(told) or "backdrop" in told) and rng.random() < 0.8
    return _prose(told, rng) if prose else _keywords(told, rng)


def participle(phrase: str) -> str:
    """`sails left` -> `sailing left`."""
    verb, *rest = phrase.split(" ")
    stem = {"flies": "fly", "goes": "go"}.get(verb, verb.removesuffix("s")).removesuffix("e")
    if stem in ("chug", "hop", "run", "spin", "swim", "trot"):
        stem += stem[-1]
    return " ".join((stem + "ing", *rest))


def _prose(told: Mapping[str, str], rng: random.Random) -> str:
    """Shadow play: at dusk, a small boat sails left while it rains; the camera zooms in."""
    scene = {key: told[key] for key in SPOTS if key in told}
    endings = cast(told)
    finite = "motion" in told and rng.random() < 0.65
    title, picture, paper = "", "{main}", False
    if "style" in scene and rng.random() < 0.6:
        style = scene.pop("style")
        if style == "paper" and "subject" in told and rng.random() < 0.4:
            paper = True
        elif finite or rng.random() < 0.5:
            title = rng.choice(en.STYLES[style]) + ": "
        else:
            picture = rng.choice(en.PICTURES[style])

    actors = [_actor(told, n, finite, paper, rng) for n in endings]
    if not actors:
        main = rng.choice(en.PLACES[scene.pop("backdrop")])
    elif len(actors) == 2:
        main = rng.choice(en.PAIRS[: 1 + finite]).format(first=actors[0], second=actors[1])
    else:
        main = actors[0]
        if told.get("motion") in ("left", "right") and "backdrop" in scene and rng.random() < 0.4:
            main += " " + _way(told.get("subject", ""), scene.pop("backdrop"), rng)

    front: list[str] = []
    tail: list[str] = []
    after: list[str] = []
    for key, value in scene.items():
        adverbs = en.ADVERBS.get(key, {}).get(value, ())
        if "motion" in told and " while " not in main:
            adverbs += en.MEANWHILE.get(key, {}).get(value, ())
        spot = rng.choices((front, tail, after), SPOTS[key])[0] if adverbs else after
        if spot is not after:
            spot.append(rng.choice(adverbs))
        elif finite and value == f"pan_{told['motion']}" and len(actors) == 1 and rng.random() < 0.4:
            spot.append(en.FOLLOWS[value])
        else:
            table = en.CLAUSES if finite or key == "style" else en.KEYWORDS
            spot.append(rng.choice(table[key][value]))
    comma = "," if finite and len(actors) == 2 and tail else ""
    text = " ".join((picture.format(main=main) + comma, *tail))
    if front:
        text = f"{' '.join(front)}, {text}"
    joint = rng.choice(("; ", ". ", ", ")) if finite and after else ", "
    if joint == ". ":
        after = [_capital(part) for part in after]
    text = title + joint.join((text, *after))
    return _capital(text) + "." if joint == ". " or rng.random() < (0.7 if finite else 0.2) else text


def _keywords(told: Mapping[str, str], rng: random.Random) -> str:
    """White horse galloping left, snowfield, dusk, shadow play."""
    actors = [_actor(told, n, False, False, rng) for n in cast(told)]
    scene = [rng.choice(en.KEYWORDS[key][told[key]]) for key in SPOTS if key in told]
    rng.shuffle(scene)
    parts = actors + scene if rng.random() < 0.8 else scene + actors
    if rng.random() < 0.7:
        parts = [part.removeprefix("a ").removeprefix("an ").removeprefix("the ") for part in parts]
    text = ", ".join(parts)
    return _capital(text) if rng.random() < 0.3 else text


def _actor(told: Mapping[str, str], n: str, finite: bool, paper: bool, rng: random.Random) -> str:
    """A small red boat sails left; or, not finite, a small red boat sailing left."""
    subject = told.get("subject" + n, "")
    noun = rng.choice(en.NOUNS[subject] if subject else en.ANY_NOUN)
    colour = rng.choice(en.COLOURS[told["colour" + n]]) if "colour" + n in told else ""
    if subject in ("girl", "boy") and colour and rng.random() < 0.7:
        noun, colour = rng.choice(en.DRESS).format(noun=noun, colour=colour), ""
    size = rng.choice(en.SIZES[told["size" + n]]) if "size" + n in told else ""
    phrase = " ".join(filter(None, (size, colour, en.PAPER if paper else "", noun)))
    if subject not in TROUPE:
        phrase = f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
    if "motion" + n not in told:
        return phrase
    motion = _motion(subject, told["motion" + n], rng)
    return f"{phrase} {motion if finite else participle(motion)}"


def _motion(subject: str, motion: str, rng: random.Random) -> str:
    phrases = en.MOTIONS[motion]
    for subjects, further in en.FURTHER:
        if subject in subjects:
            phrases += further.get(motion, ())
    return rng.choice(phrases).format(gait=rng.choice(en.GAITS.get(subject, ()) + en.ANY_GAIT))


def _way(subject: str, backdrop: str, rng: random.Random) -> str:
    """Where travellers pass: across the sea, over the sea if they fly, through a forest."""
    across, over, through = en.WAYS
    way = through if backdrop in ("forest", "night_city") else across
    if subject in en.FLIERS and backdrop not in ("room", "stage"):
        way = over
    return way.format(place=rng.choice(en.PLACES[backdrop]))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
