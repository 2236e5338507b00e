"""`piying report`: whether what a fine-tuning promises was kept, measured on videos that it makes.

Prompts with the names and without, some seeds each, from the base and from what was trained, beside real clips that the
training never saw. Clips and findings are kept, so that a stopped report goes on.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from piying.adapters import file
from piying.data.dataset import Clip, write_whole
from piying.data.describe import frames_of
from piying.errors import UsageError
from piying.evaluate import asks, detectors, footage, jury, page, promises, runs
from piying.evaluate.asks import Ask, Kind
from piying.evaluate.embedding import Embedder
from piying.evaluate.footage import Deadline, filmed
from piying.evaluate.jury import Judge
from piying.evaluate.promises import Sets, Shown
from piying.evaluate.report import Measure, made_with
from piying.evaluate.runs import Run
from piying.files import digest
from piying.generate import Model, load
from piying.prompts.aliases import substitute
from piying.request import AdapterUse, Request
from piying.theatre.scene import TROUPE, UNSEEN_STYLES

MOST_SEEDS = 100  # of a prompt; clips are numbered by prompt and seed
KNOWN = 40  # scenes on which the theatre's judges are judged, at most
MARKED = 100  # prompts of each kind by which those of a stopped report are known again
REAL = 24  # held-out clips that are looked at, at most
COPY = 0.5  # of the distance between the training clips and the nearest held-out one
CHOOSING = (8, 1)  # prompts and seeds on which a checkpoint is chosen
KINDS: tuple[Kind, ...] = ("named", "plain")

Phase = Literal["choosing", "report"]
Maker = tuple[Model, tuple[AdapterUse, ...], Path]  # with what, and the folder of the clips
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is made. Less is sooner and says less."""

    prompts: int = 20
    seeds: int = 5
    minutes: float | None = None
    frames: int | None = None  # None: the model's own
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seeds > MOST_SEEDS:
            raise UsageError(f"seeds={self.seeds}: use {MOST_SEEDS} at most")


@dataclass(frozen=True)
class Studio:
    """What makes and judges the videos of a report."""

    run: Run
    base: Model
    whole: Model | None  # the model that was trained, where no adapter was
    judges: Mapping[str, Judge]
    theatre: bool
    effort: Effort
    deadline: Deadline
    out: Path
    say: Say

    @property
    def eye(self) -> jury.Eye | None:
        eye = self.judges.get("eye")
        return eye if isinstance(eye, jury.Eye) else None


def report(
    folder: Path,
    out: Path,
    effort: Effort,
    *,
    model: str | None = None,
    dataset: Path | None = None,
    embedder: Path | None = None,
    every: bool = False,
    device: str = "cpu",
    say: Say = print,
) -> dict[str, Any]:
    """Judges the run in `folder`, writes report.html, report.json and pictures to `out`, and gives the JSON.

    `model` is where the base lies if its name alone does not find it, `dataset` where the clips lie now. `every`
    chooses the best of the adapters that the run kept, on fewer prompts, before that one is judged. Raises UsageError
    where the folder is no run, the base another one, or nothing here can judge its footage.
    """
    run = runs.read(folder, dataset)
    if every and run.whole:
        raise UsageError(f"{folder}: a whole model was trained, which kept no adapters to choose from")
    studio = _open(run, out, effort, model, embedder, device, say)
    chosen = _choose(studio) if every else {}
    adapter = None if run.whole else run.adapter
    sets = _shoot(studio, "report", effort, adapter, out / "clips" / (digest(adapter)[:12] if adapter else "model"))
    sets = _beside(studio, sets)
    distances, nearest = _resemblance(studio, sets)
    measures = _measures(studio, sets, distances)
    cast = [member.id for member in run.dataset.cast]
    return page.write(
        out,
        title=f"{run.folder.name}: was the promise kept?",
        setting=_setting(studio, adapter, sets, device),
        verdict=promises.verdict(measures),
        measures=measures,
        confusions=_confusions(studio, sets),
        scales=_scales(studio),
        sheets=page.sheets(out, sets, run.dataset, nearest, cast),
        chosen=chosen,
        clips=[_told(name, shown) for group in (sets.named, sets.plain) for name in group for shown in group[name]],
    )


def _open(
    run: Run, out: Path, effort: Effort, model: str | None, embedder: Path | None, device: str, say: Say
) -> Studio:
    """Raises UsageError as `report` does."""
    base = load(model or run.model, device=device, say=say)
    name = base.checkpoint.config.name
    if not run.whole:
        made_for = file.read(run.adapter).base_sha256
        if made_for and made_for != base.rack.base_sha256:
            raise UsageError(f"model={base.name}: not the one that the run began with; name that one with --model")
    theatre = name == "nano" and all(member.id in TROUPE for member in run.dataset.cast)
    if not theatre and embedder is None:
        raise UsageError(f"{run.folder}: real footage needs a judge; name a vision model's folder with --embedder")
    out.mkdir(parents=True, exist_ok=True)
    judges: dict[str, Judge] = {"ruler": jury.Ruler()}
    if theatre:
        judges["theatre"] = jury.Theatre(detectors.read(device=device))
    if embedder:
        judges["eye"] = jury.Eye(Embedder(embedder, device), run.dataset, run.learned, _real(run))
    whole = load(run.whole, device=device, say=say) if run.whole else None
    studio = Studio(run, base, whole, judges, theatre, effort, Deadline(effort.minutes), out, say)
    if unknown := _unknown(studio):
        say(
            f"{unknown}: cannot be judged: give a --reference (two where no clip shows them alone), clips that name "
            "others, or an --embedder that tells them apart"
        )
    _same_setting(studio)
    if not theatre and not _asks(studio, "report", 1)["plain"]:
        say("nothing is asked without a name: a video of this model begins with a picture, and no clip shows nobody")
    return studio


def _same_setting(studio: Studio) -> None:
    """Sees to it that the clips in `out` are made alike."""
    asked = [
        [ask.prompt, ask.first and ask.first.name]
        for key in ("report", "choosing", "judges")
        for asks_ in _asks(studio, key, MARKED).values()
        for ask in asks_
    ]
    marked = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    now = {"frames": studio.effort.frames, "steps": studio.effort.steps, "prompts": marked}
    path = studio.out / "setting.json"
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        if other := [name for name, value in now.items() if before.get(name) != value]:
            raise UsageError(f"out={studio.out}: holds videos of other {other[0]}; use the same, or another folder")
    write_whole(path, json.dumps(now))


def _unknown(studio: Studio) -> str:
    """The tokens of those whom the vision model cannot know again, where it decides."""
    eye = None if studio.theatre else studio.eye
    return ", ".join(member.token for member in studio.run.dataset.cast if eye and member.id not in eye.knows)


def _asks(studio: Studio, key: str, prompts: int) -> dict[Kind, list[Ask]]:
    run = studio.run
    if studio.theatre:
        return asks.theatre(run.dataset, prompts, key)
    held_out, among = [clip.id for clip in run.held_out], studio.eye.knows if studio.eye else ()
    asked = asks.footage(run.dataset, held_out, prompts, among)
    if "text" in studio.base.checkpoint.config.tasks:
        return asked
    return {kind: [begun for ask in given if (begun := _begun(studio, ask))] for kind, given in asked.items()}


def _begun(studio: Studio, ask: Ask) -> Ask | None:
    """With the first frame of a clip that shows those who are named and nobody else, of a held-out one where there is
    one; None where no clip does."""
    run = studio.run
    clip = next((clip for clip in (*run.held_out, *run.learned) if set(clip.names) == set(ask.names)), None)
    if clip is None:
        return None
    path = studio.out / "first-frames" / f"{clip.sha256[:16]}.png"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(frames_of(run.dataset.path(clip))[0]).save(path)
    return replace(ask, first=path)


def _shoot(studio: Studio, key: Phase, effort: Effort, adapter: Path | None, folder: Path) -> Sets:
    """The videos of what was trained, and for a report of the base: seed by seed, so that a stopped one has all
    prompts."""
    asked = _asks(studio, key, effort.prompts)
    uses = (AdapterUse(source=str(adapter)),) if adapter else ()
    makers: dict[tuple[str, Kind], Maker] = {
        ("adapter", kind): (studio.whole or studio.base, uses, folder) for kind in _made(adapter)
    }
    if key == "report":
        makers |= {("base", kind): (studio.base, (), studio.out / "clips" / "base") for kind in KINDS}
    for seed in range(effort.seeds):
        for (name, kind), (model, use, where) in makers.items():
            requests = {
                i * MOST_SEEDS + seed: Request(
                    prompt=substitute(ask.prompt, studio.run.dataset.aliases),
                    seed=(0 if key == "report" else 1 << 20) + i // 2 * MOST_SEEDS + seed,
                    adapters=use,
                    image=ask.first,
                    frames=effort.frames,
                    steps=effort.steps,
                )
                for i, ask in enumerate(asked[kind])
            }
            say = partial(_tell, studio.say, f"{name}, seed {seed}")
            footage.film(model, requests, where / f"{key}-{kind}", studio.deadline, say)
    found: dict[Kind, dict[str, list[Shown]]] = {kind: {} for kind in KINDS}
    for (name, kind), (_, _, where) in makers.items():
        at = where / f"{key}-{kind}"
        clips = {
            number: path
            for number, path in filmed(at).items()
            if number // MOST_SEEDS < len(asked[kind]) and number % MOST_SEEDS < effort.seeds
        }
        told = {number: asked[kind][number // MOST_SEEDS] for number in clips}
        found[kind][name] = _shown(studio, clips, told, at, 2 if studio.theatre else 1)
    return Sets(found["named"], found["plain"])


def _made(adapter: Path | None) -> tuple[Kind, ...]:
    """What is asked of it: one that is left out where no name is said makes the base's videos there."""
    return ("named",) if adapter and file.read(adapter).only_named else KINDS


def _shown(
    studio: Studio, clips: Mapping[int, Path], asked: Mapping[int, Ask], folder: Path, tellings: int = 1
) -> list[Shown]:
    """What was found in the clips; so many prompts in a row tell one scene."""
    heard = jury.hear(studio.judges, clips, asked, folder, studio.say)
    return [
        Shown(asked[number], heard[number], number // MOST_SEEDS // tellings, path) for number, path in clips.items()
    ]


def _real(run: Run) -> list[Clip]:
    """The held-out clips that are looked at."""
    return asks.spread(run.held_out)[:REAL]


def _beside(studio: Studio, sets: Sets) -> Sets:
    """The same with what shows how good the judges are: clips whose facts are known, and real ones."""
    run, out = studio.run, studio.out
    held_out = {number * MOST_SEEDS: clip for number, clip in enumerate(_real(run))}
    paths = {number: run.dataset.path(clip) for number, clip in held_out.items()}
    told = {
        number: Ask(
            clip.captions[0] if clip.captions else "", "pair" if len(clip.names) > 1 else "named", clip.names, "token"
        )
        for number, clip in held_out.items()
    }
    real = _shown(studio, paths, told, out / "clips" / "real")
    named, plain = {**sets.named, "real": real}, dict(sets.plain)
    if studio.theatre:
        known = asks.theatre(run.dataset, 2 * min(KNOWN, studio.effort.prompts), "judges")
        for kind, kept in zip(KINDS, (named, plain), strict=True):
            cases = known[kind][::2][: KNOWN if kind == "named" else KNOWN // 2]
            rendered, through = (out / "clips" / f"{name}-{kind}" for name in ("rendered", "autoencoder"))
            studio.say(f"drawing {len(cases)} scenes on which the judges are judged")
            footage.film_rendered(cases, rendered)
            footage.film_reconstructed(cases, through, studio.base.checkpoint.vae, studio.base.checkpoint.device.type)
            for name, at in (("rendered", rendered), ("autoencoder", through)):
                clips = {i: path for i, path in filmed(at).items() if i < len(cases)}
                heard = jury.hear(studio.judges, clips, dict(enumerate(cases)), at, studio.say)
                kept[name] = [Shown(cases[i], heard[i], i, path) for i, path in clips.items()]
    return Sets(named, plain)


def _measures(studio: Studio, sets: Sets, distances: Mapping[str, Sequence[float]]) -> list[Measure]:
    run = studio.run
    cast = [member.id for member in run.dataset.cast]
    style = (
        next((name for name in asks.styles_of(run.dataset) if name in UNSEEN_STYLES), None) if studio.theatre else None
    )
    measures = promises.rows(sets, cast, None if cast else style) if studio.theatre else []
    if studio.eye:
        measures += promises.embedded(sets, studio.eye.knows)
    return [*measures, promises.moved(sets), *promises.copied(sets.named, distances, COPY)]


def _resemblance(studio: Studio, sets: Sets) -> tuple[dict[str, list[float]], list[Clip]]:
    """How far each named clip is from the nearest training clip, RMS of pixels in 0..1, by set; and which one that is
    of each clip that was made by what was trained."""
    run = studio.run
    learned = {number: run.dataset.path(clip) for number, clip in enumerate(run.learned)}
    nothing = Ask("", "named", (), "token")
    heard = jury.hear(
        {"ruler": jury.Ruler()}, learned, dict.fromkeys(learned, nothing), studio.out / "clips" / "learned", studio.say
    )
    space = torch.tensor([facts["coarse"] for facts in heard.values()])
    distances, alike = {}, []
    for name in ("adapter", "base", "real"):
        if clips := sets.named.get(name, ()):
            own = torch.tensor([shown.found["coarse"] for shown in clips])
            least = torch.cdist(own, space).min(1)
            distances[name] = (least.values / space.shape[1] ** 0.5).tolist()
            if name == "adapter":
                alike = [run.learned[index] for index in least.indices.tolist()]
    return distances, alike


def _told(name: str, shown: Shown) -> dict[str, object]:
    """A clip as the JSON tells of it."""
    found = {key: value for key, value in shown.found.items() if key != "coarse"}
    return {"set": name, "file": str(shown.path), "prompt": shown.ask.prompt, "names": shown.ask.names, "found": found}


def _confusions(studio: Studio, sets: Sets) -> dict[str, dict[str, dict[str, int]]]:
    knows = studio.eye.knows if studio.eye and not studio.theatre else TROUPE
    cast = [member.id for member in studio.run.dataset.cast if member.id in knows]
    seen = TROUPE if studio.theatre else cast
    if not cast:
        return {}
    return {name: promises.confusion(clips, cast, seen) for name, clips in sets.named.items() if clips}


def _scales(studio: Studio) -> dict[str, dict[str, float | int | None]]:
    if not studio.eye:
        return {}
    return {
        name: {
            "auc": scale.auc,
            "threshold": scale.threshold,
            "same": len(scale.same),
            "different": len(scale.different),
        }
        for name, scale in studio.eye.scales.items()
    }


def _choose(studio: Studio) -> dict[str, object]:
    """Scores every kept adapter on prompts of their own, and marks the best; of equals the earliest."""
    kept = studio.run.kept
    if not kept:
        raise UsageError(f"{studio.run.folder}: kept no adapters to choose from")
    prompts, seeds = CHOOSING
    effort = replace(studio.effort, prompts=prompts, seeds=seeds)
    scores, wanted = {}, seeds * len(_asks(studio, "choosing", prompts)["named"])
    for step, path in kept.items():
        sets = _shoot(studio, "choosing", effort, path, studio.out / "clips" / digest(path)[:12])
        if len(sets.named["adapter"]) == wanted:
            scores[step] = promises.score(sets)
            studio.say(f"{step}: {', '.join(f'{name} {value:.2f}' for name, value in scores[step].items())}")
    if len(scores) < len(kept):
        studio.say("not all kept adapters were tried in that time, so none was chosen; the same command goes on")
        return {}
    best = max(scores, key=lambda step: scores[step]["score"])
    path = runs.mark(studio.run, best, scores)
    studio.say(f"the best is {best}; it is in {path.parent}, for piying adapters add")
    return {"best": best, "adapter": str(path), "scores": scores}


def _setting(studio: Studio, adapter: Path | None, sets: Sets, device: str) -> dict[str, str]:
    run, effort = studio.run, studio.effort
    asked, made = (
        _asks(studio, "report", effort.prompts),
        {name: len(sets.named.get(name, ())) + len(sets.plain.get(name, ())) for name in ("adapter", "base")},
    )
    wanted = {
        name: effort.seeds * sum(len(asked[kind]) for kind in kinds)
        for name, kinds in (("adapter", _made(adapter)), ("base", KINDS))
    }
    named = {name for ask in asked["named"] for name in ask.names}
    never = ", ".join(member.token for member in run.dataset.cast if member.id not in named)
    return {
        "trained": str(adapter or run.whole),
        "base": studio.base.name,
        "dataset": f"{run.dataset.folder}: {len(run.learned)} clips were learned, {len(run.held_out)} held out",
        "cast": ", ".join(member.token for member in run.dataset.cast) or "nobody",
        **({"cannot be judged": unknown} if (unknown := _unknown(studio)) else {}),
        **({"never asked for": never} if never else {}),
        "videos": f"{made['adapter']} of {wanted['adapter']} by what was trained, "
        f"{made['base']} of {wanted['base']} by the base: "
        f"{len(asked['named'])} prompts with a name, {len(asked['plain'])} without, {effort.seeds} seeds",
        **({"without a name": "the adapter is left out: the base's videos"} if _made(adapter) != KINDS else {}),
        "judges": ", ".join(name for name in studio.judges),
        **made_with(device),
    }


def _tell(say: Say, name: str, line: str) -> None:
    say(f"{name}, {line} videos")
