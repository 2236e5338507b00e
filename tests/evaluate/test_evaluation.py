"""The whole evaluation, with a model that plays back rendered scenes and a judge that knows every scene's looks."""

import functools
import json
import shutil
from dataclasses import replace
from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch

from piying import ledger
from piying.config import NANO
from piying.errors import UsageError
from piying.evaluate import court, footage, nano
from piying.evaluate.prompts import prompts
from piying.evaluate.sight import ACTOR, SCENE, Sight
from piying.theatre.casting import SEED_BITS
from piying.theatre.scene import Actor
from piying.theatre.stage import render
from piying.video import Video

N = 6
SMALL = (32, 48)


def last():
    return SimpleNamespace(weight=torch.zeros(1))


class Player:
    """Plays the scene whose seed it is asked for, or another one."""

    def __init__(self, cases, swap=0):
        self.scenes = {case.scene.seed: cases[(i + swap) % len(cases)].scene for i, case in enumerate(cases)}
        self.checkpoint = SimpleNamespace(
            config=replace(NANO, size=SMALL, frames=9),
            vae=SimpleNamespace(decoder=SimpleNamespace(conv_out=SimpleNamespace(conv=last()))),
            transformer=SimpleNamespace(proj_out=last()),
        )
        self.made = 0

    def make(self, *requests):
        self.made += len(requests)
        scenes = [self.scenes[request.seed] for request in requests]
        return [Video(clip, 8) for clip in render(scenes, frames=9, size=SMALL).frames.numpy()]


def truth(scene):
    actors = {
        actor.subject: {name: getattr(actor, name) for name in ACTOR}
        for actor in (*scene.actors, Actor(subject="kite", colour="red"))
    }
    presence = {actor.subject: 1.0 for actor in scene.actors}
    return Sight(actors, {name: getattr(scene, name) for name in SCENE}, {"kite": 0.0} | presence, True)


def connoisseur(cases):
    """A judge that takes a clip for the known scene that it resembles most."""
    scenes = list({case.scene.seed: case.scene for case in cases}.values())
    known = render(scenes, frames=9, size=SMALL).frames.float()

    def look(clips, cases):
        frames = clips[:, torch.linspace(0, clips.shape[1] - 1, 9).round().long()].float()
        small = torch.nn.functional.interpolate(frames.flatten(0, 1).movedim(-1, 1), SMALL, mode="area")
        small = small.movedim(1, -1).unflatten(0, frames.shape[:2])
        return [truth(scenes[(known - clip).square().flatten(1).sum(1).argmin()]) for clip in small]

    return look


def told(judge):
    """The same judge as one that is told whom to look for."""
    return lambda clips, cases: [replace(sight, presence=None, steady=None) for sight in judge(clips, cases)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Evaluates a player that plays the scene `swap` cases on: stopped at once, then on to the end, then once more."""
    cases, known = prompts(N), prompts(2 * N, seed=nano.JUDGES_SEED)[::2]
    judge = connoisseur([*cases, *known])

    @functools.cache
    def evaluate(swap):
        player, out = Player(cases, swap), tmp_path_factory.mktemp("evaluation")
        if swap:  # what the judges are tested on is the same
            for name in ("rendered", "reconstructed"):
                shutil.copytree(evaluate(0).out / name, out / name)
        training, pages = [case.scene for case in known[:2]], []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nano, "load", lambda model, device, say: player)
            patch.setattr(court, "judges", lambda device: {"detectors": ("1", judge), "analytic": ("1", told(judge))})
            patch.setattr(footage, "reconstruct", lambda vae, clips: clips ^ 1)
            for minutes in (0, None, None):
                report = nano.evaluate("player", out, n=N, minutes=minutes, training=training, on_event=pages.append)
                pages.append((report, player.made, (out / "report.md").read_text()))
        stopped, done, again = (page for page in pages if isinstance(page, tuple))
        return SimpleNamespace(out=out, player=player, stopped=stopped, done=done, again=again, report=again[0])

    return evaluate


def values(report):
    return {measure.promise.name: next(iter(measure.estimates.values())).value for measure in report.measures}


def test_what_is_played_as_written_scores_full_marks(run):
    found = values(run(0).report)
    assert found["everything in a one-subject prompt right"] == 1
    assert found["two subjects, each with its colour and motion"] == 1
    assert found["held-out compositions behind seen ones"] == 0
    assert found["VAE, PSNR on held-out clips"] == pytest.approx(48.13, abs=0.01)  # an error of one level everywhere
    assert [measure.promise.name for measure in run(0).report.measures if measure.met is False] == []
    assert run(0).report.agreement["motion"].value == 1


def test_other_scenes_than_the_prompts_told_of_score_nothing(run):
    report = run(2).report
    assert values(report)["everything in a one-subject prompt right"] == 0
    assert not report.met


def test_a_stopped_evaluation_says_what_is_missing_and_goes_on(run):
    report, made, page = run(0).stopped
    assert made == 0
    assert not report.met
    assert "**not measured**" in page
    assert "**not measured**" not in run(0).done[2]


def test_a_clip_is_made_and_judged_once(run):
    twice = 2 * nano.AGAIN
    assert run(0).done[1] == N + 1 + 1 + twice
    assert run(0).again[1] == run(0).done[1] + twice  # only the check of the seeds is repeated
    assert len(list(ledger.findings(run(0).out / "generated" / "sights.jsonl"))) == 2 * N
    assert run(0).again[2] == run(0).done[2]


@pytest.mark.parametrize("part", ["transformer.proj_out", "vae.decoder.conv_out.conv"])
def test_another_model_needs_another_folder(run, monkeypatch, part):
    other = Player(prompts(N))
    attrgetter(part)(other.checkpoint).weight += 1
    monkeypatch.setattr(nano, "load", lambda model, device, say: other)
    monkeypatch.setattr(court, "judges", lambda device: {})
    with pytest.raises(UsageError, match="another model"):
        nano.evaluate("other", run(0).out, n=N)


def test_a_line_that_was_cut_off_is_lost_alone(tmp_path):
    path = tmp_path / "numbers.jsonl"
    ledger.add(path, {"clip": 0})
    path.write_text(path.read_text() + '\n{"clip": 1, "ps')
    ledger.add(path, {"clip": 2})
    assert list(ledger.findings(path)) == [{"clip": 0}, {"clip": 2}]


def test_the_report_is_a_page_with_pictures(run):
    out, page = run(2).out, run(2).again[2]
    assert "| everything in a one-subject prompt right | at least 85.0 % | **0.0 % (" in page
    assert "**missed**" in page
    for name in ("samples.png", "faults.png", "nearest.png", "confusion-generated-detectors-motion.png"):
        assert (out / name).exists()
        assert f"({name})" in page
    saved = json.loads((out / "report.json").read_text())
    assert saved["met"] is False
    assert saved["measures"][0]["estimates"]["detectors"]["trials"] == 4


def test_no_scene_is_one_of_training_or_one_of_the_judges_own():
    seeds = {case.scene.seed for case in prompts(N)}
    assert min(seeds) >= 2**SEED_BITS
    assert not seeds & {case.scene.seed for case in prompts(2 * N, seed=nano.JUDGES_SEED)}
