"""`piying evaluate nano`: every promise of docs/nano.md, measured."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from piying.errors import UsageError
from piying.evaluate import court, footage, tally
from piying.evaluate.footage import Deadline, filmed, numbers
from piying.evaluate.intervals import Estimate, mean, rate
from piying.evaluate.nearest import nearest
from piying.evaluate.prompts import Case, prompts
from piying.evaluate.report import Measure, Promise, Report, made_with
from piying.evaluate.tally import Judged
from piying.generate import Model, load
from piying.theatre.scene import Scene
from piying.theatre.sheet import contact_sheet
from piying.theatre.stage import render
from piying.video import read_frames

JUDGES_SEED = 1  # of the cases on which the judges are judged; the model's own have seed 0
KNOWN = 400  # clips on which the judges are judged, at most
ROWS = 12  # clips on a contact sheet
AGAIN = 3  # videos made twice


def evaluate(
    model: str | Path,
    out: Path,
    *,
    n: int = 1000,
    device: str = "cpu",
    minutes: float | None = None,
    training: Sequence[Scene] = (),
    on_event: Callable[[str], None] = print,
) -> Report:
    """Judge a model of the theatre on `n` prompts, and write report.json, report.md and pictures to `out`.

    A tenth as many clips are made from a first frame, and from a prompt that tells nothing. `training`: scenes that the
    model learned, among which the nearest to its samples are looked for. Clips and judgements are kept in `out`, so
    that a stopped evaluation goes on; after `minutes` no more clips are made, and what is missing says so. Raises
    ModelMissing where the model is missing, UsageError where `out` is about another model.
    """
    deadline, painter, judges = Deadline(minutes), load(model, device=device, say=on_event), court.judges(device)
    _open(out, painter)
    cases, known = prompts(n), prompts(2 * min(n, KNOWN), seed=JUDGES_SEED)[::2]  # each scene once
    alone = [case for case in cases if case.group != "two"][: -(-n // 10)]

    footage.film_rendered(known, out / "rendered")
    footage.film_reconstructed(known, out / "reconstructed", painter.checkpoint.vae, device)
    footage.film_generated(painter, cases, out / "generated", deadline, on_event)
    footage.film_from_first(painter, alone, out / "first", deadline, on_event)
    footage.film_silence(painter, alone, out / "silence", deadline, on_event)
    again = [] if deadline.is_over() else footage.same_again(painter, cases[:AGAIN])

    rendered, reconstructed = (
        court.judge(judges, known, out / name, on_event) for name in ("rendered", "reconstructed")
    )
    generated = court.judge(judges, cases, out / "generated", on_event)
    first, silence = (court.judge(judges, alone, out / name, on_event) for name in ("first", "silence"))

    report = Report(
        model=str(model),
        setting=_setting(painter.checkpoint.config.name, judges, device, n, len(generated)),
        measures=[*tally.measures(generated, rendered), *_measured(out, first, rendered, again)],
        ceilings={"rendered": _accuracies(rendered), "rendered, through the VAE": _accuracies(reconstructed)},
        agreement=tally.agreement(generated),
        baselines={
            "captions shuffled": _accuracies(tally.shuffled(generated)),
            "a prompt that tells nothing": _accuracies(silence),
        },
        confusions={
            f"{name}, {who}": tally.confusion(clips, who)
            for name, clips in (("rendered", rendered), ("generated", generated))
            for who in (clips[0].sights if clips else ())
        },
        pictures=_pictures(out, cases, generated, training),
    )
    report.write(out)
    return report


def _open(out: Path, painter: Model) -> None:
    """Sees to it that `out` holds the clips of one model, known by the last layers of transformer and decoder."""
    made = painter.checkpoint
    last = made.transformer.proj_out.weight, made.vae.decoder.conv_out.conv.weight
    mark = hashlib.sha256(b"".join(weight.float().cpu().numpy().tobytes() for weight in last)).hexdigest()
    path = out / "model.sha256"
    out.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text("utf-8") != mark:
        raise UsageError(f"{out}: holds the evaluation of another model; choose another folder")
    path.write_text(mark, "utf-8")


def _measured(out: Path, first: list[Judged], rendered: list[Judged], again: list[bool]) -> list[Measure]:
    """The rows that need no judge, and the motion of clips that were given their first frame."""
    psnr, ssim = (list(numbers(out / "reconstructed", name).values()) for name in ("psnr", "ssim"))
    given, ceiling = (numbers(out / "first", name) for name in ("psnr", "ceiling"))
    behind = [ceiling[clip] - given[clip] for clip in given]
    scenes = [clip // 2 for clip in given]  # told twice, each with the same first frame
    rows = {
        Promise("VAE, PSNR on held-out clips", "dB", at_least=36): psnr and mean(psnr),
        Promise("VAE, SSIM on held-out clips", "", at_least=0.96): ssim and mean(ssim),
        Promise("first frame given, PSNR below the VAE's", "dB", at_most=1.5): behind and mean(behind, scenes),
        Promise("the same seed, the same frames", "rate", at_least=1): again and rate(sum(again), len(again)),
    }
    measured = [
        Measure(promise, {"measured": found} if found else {}, {}, ("measured",) if found else ())
        for promise, found in rows.items()
    ]
    promise = Promise("first frame given, motion right", "rate", at_least=0.9)
    return [
        *measured,
        tally.row(promise, lambda clips, who: tally.accuracies(clips, who).get("motion"), first, rendered),
    ]


def _accuracies(clips: list[Judged]) -> dict[str, dict[str, Estimate]]:
    """Judge -> attribute -> rate."""
    return {name: tally.accuracies(clips, name) for name in (clips[0].sights if clips else ())}


def _setting(name: str, judges: Iterable[str], device: str, n: int, made: int) -> dict[str, str]:
    return {
        "model": name,
        "prompts": f"{made} of {n}, each scene told in English and in Chinese, with seeds that training never drew",
        "judges": ", ".join(judges),
        **made_with(device),
    }


def _pictures(out: Path, cases: Sequence[Case], generated: list[Judged], training: Sequence[Scene]) -> dict[str, str]:
    """Contact sheets: what was made, what went wrong, and what it resembles."""
    paths = filmed(out / "generated")
    shown = dict(list(paths.items())[:ROWS])
    sheets = {}
    if shown:
        clips = [read_frames(path) for path in shown.values()]
        contact_sheet(clips, [cases[i].caption for i in shown]).save(out / "samples.png")
        sheets["samples.png"] = "The first samples"
    wrong = {i: _faults(clip) for i, clip in zip(paths, generated, strict=True)}
    wrong = dict([(i, faults) for i, faults in wrong.items() if faults][:ROWS])
    if wrong:
        contact_sheet([read_frames(paths[i]) for i in wrong], list(wrong.values())).save(out / "faults.png")
        sheets["faults.png"] = "The first samples that went wrong, and what a judge saw instead"
    if shown and training:
        indices, distances = nearest(torch.stack([torch.from_numpy(clip) for clip in clips]), training)
        rows, captions = [], []
        for clip, i, index, distance in zip(clips, shown, indices.tolist(), distances.tolist(), strict=True):
            again = render([training[index]], frames=len(clip), size=(clip.shape[1], clip.shape[2])).frames[0]
            rows += [clip, again.numpy()]
            captions += [
                cases[i].caption,
                f"the nearest of {len(training)} training clips, RMS distance {distance:.3f}",
            ]
        contact_sheet(rows, captions).save(out / "nearest.png")
        sheets["nearest.png"] = "Samples, and below each the nearest training clip"
    return sheets


def _faults(clip: Judged) -> str:
    """`motion rise, not left` for each told fact that the first judge saw differently."""
    answers = clip.answers(next(iter(clip.sights)))
    return "; ".join(
        f"{key} {answers[key]}, not {told}" for key, told in clip.case.told.items() if answers.get(key, told) != told
    )
