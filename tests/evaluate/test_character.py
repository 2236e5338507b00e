"""The whole report on a run, with a model that plays scenes of the theatre and a judge that knows them."""

import functools
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toys import toy_checkpoint

from piying.adapters import attach, file, store
from piying.config import NANO
from piying.data.describe import frames_of
from piying.errors import PiyingError, UsageError
from piying.evaluate import asks, character, detectors, footage, jury, runs
from piying.prompts.aliases import substitute
from piying.theatre.stage import render
from piying.train.tune.rehearsal import rehearse
from piying.video import Video, read_image

SMALL, FRAMES, PROMPTS = (32, 48), 9, 3
EFFORT = character.Effort(prompts=PROMPTS, seeds=2)


@functools.cache
def drawn(scene):
    return render([scene], frames=FRAMES, size=SMALL).frames[0].numpy()


class Player:
    """Plays what a prompt tells of where an adapter is on that `knows` the cast, else the base's own puppets."""

    def __init__(self, run, knows=lambda source: True):
        self.scenes, self.knows, self.made, self.name = {}, knows, 0, "nano"
        self.instead = {}  # of each scene, what the base plays
        for key in ("report", "choosing"):
            asked = asks.theatre(run.dataset, 8, key)
            for named, plain in zip(asked["named"], asked["plain"], strict=True):
                for ask, base in ((named, plain), (plain, plain)):
                    self.scenes[substitute(ask.prompt, run.dataset.aliases)] = ask.scene, base.scene
                self.instead[named.scene] = plain.scene
        self.rack = SimpleNamespace(base_sha256=file.read(run.folder / "adapter").base_sha256)
        weight = SimpleNamespace(weight=torch.zeros(1))
        self.checkpoint = SimpleNamespace(
            config=NANO, vae=None, device=torch.device("cpu"), transformer=SimpleNamespace(proj_out=weight)
        )

    def make(self, *requests):
        self.made += len(requests)
        videos = []
        for request in requests:
            wanted, base = self.scenes[request.prompt]
            on = request.adapters and self.knows(request.adapters[0].source)
            videos.append(Video(drawn(wanted if on else base), 8))
        return videos


class Connoisseur:
    """Sees all of a scene where a clip shows it and not what the base plays, and otherwise nothing."""

    mark = "1"

    def __init__(self, instead):
        self.instead = instead

    def see(self, frames, ask):
        moments = torch.linspace(0, len(frames) - 1, FRAMES).round().long()
        clip = torch.from_numpy(frames)[moments].movedim(-1, 1).float()
        small = torch.nn.functional.interpolate(clip, SMALL, mode="area").movedim(1, -1)

        def distance(scene):
            return (small - torch.from_numpy(drawn(scene)).float()).abs().mean()

        alike = ask.drawn and distance(ask.drawn) < 12
        if alike and ask.drawn in self.instead:
            alike = distance(ask.drawn) < distance(self.instead[ask.drawn])
        told = ask.told if alike else {}
        cast = tuple(told[key] for key in ("subject", "subject2") if key in told)
        motions = tuple(told[key] for key in ("motion", "motion2") if key in told)
        facts = {fact: told.get(fact, "") for fact in ("backdrop", "style", "light")}
        return {"cast": cast or ("nobody",), "motions": motions or ("still",)} | facts


@pytest.fixture
def run(tmp_path):
    """A run on clips of two of the troupe, with three adapters of which the last is the end."""
    rehearse(["dawa", "erwa"], 3, tmp_path / "ds", SMALL)
    folder = tmp_path / "run"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapters").mkdir()
    transformer = toy_checkpoint(NANO).transformer
    for step in (1, 2, 3):
        made = attach.create(transformer, rank=1, alpha=1.0, seed=step)
        file.write(made, folder / "adapters" / f"{step:08d}.safetensors")
    file.write(made, folder / "adapter" / runs.FILE)
    says = {"recipe": {"kind": "lora"}, "model": {"name": "nano"}, "dataset": {"folder": str(tmp_path / "ds")}}
    (folder / "recipe.json").write_text(json.dumps(says))
    split = {"learned": ["dawa-001", "erwa-001"], "held_out": ["dawa-003", "erwa-003"]}
    (folder / "clips.json").write_text(json.dumps(split))
    return runs.read(folder)


@pytest.fixture
def player(run, monkeypatch):
    player = Player(run)
    monkeypatch.setattr(character, "KNOWN", 2)
    monkeypatch.setattr(character, "load", lambda model, device, say: player)
    monkeypatch.setattr(detectors, "read", lambda device: None)
    monkeypatch.setattr(jury, "Theatre", lambda network: Connoisseur(player.instead))
    monkeypatch.setattr(footage, "reconstruct", lambda vae, clips: clips ^ 1)
    return player


def values(found, which="adapter"):
    rows = [row for row in found["measures"] if which in row["estimates"]]
    return {row["promise"]["name"]: row["estimates"][which]["value"] for row in rows}


NAMED = "the one that was named is there, and it is that one"


def test_a_report_tells_what_was_trained_from_the_base(run, player, tmp_path):
    found = character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)
    trained, base = values(found), values(found, "base")
    assert trained[NAMED] == 1 and base[NAMED] == 0
    assert trained["one of the cast appears without being named"] == 0
    assert trained["motion right, without a name, behind the base"] == 0
    assert found["met"] and found["verdict"][0] == "All that was promised was kept."
    assert player.made == 2 * 2 * PROMPTS * EFFORT.seeds
    row = next(row for row in found["measures"] if row["promise"]["name"] == NAMED)
    assert row["ceilings"]["rendered"]["value"] == row["ceilings"]["autoencoder"]["value"] == 1
    assert row["estimates"]["adapter"]["trials"] == PROMPTS * EFFORT.seeds
    page = (tmp_path / "out" / "report.html").read_text()
    for name in found["pictures"]:
        assert (tmp_path / "out" / name).is_file() and f'src="{name}"' in page
    assert {"samples.png", "nearest.png", "confusion-adapter.png"} <= set(found["pictures"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["verdict"] == found["verdict"]
    assert found["confusions"]["adapter"]["dawa"]["dawa"] > 0


def test_nothing_is_claimed_of_prompts_from_which_the_adapter_is_left_out(run, player, tmp_path):
    adapter = run.folder / "adapter" / runs.FILE
    file.write(replace(file.read(adapter), triggers=("DaWa", "ErWa"), only_named=True), adapter)
    found = character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)
    assert player.made == 3 * PROMPTS * EFFORT.seeds
    assert values(found)[NAMED] == 1 and found["met"]
    assert not any("without" in name and "with a name" not in name for name in values(found))
    videos = PROMPTS * EFFORT.seeds
    assert f"{videos} of {videos} by what was trained, {2 * videos} of {2 * videos} by" in found["setting"]["videos"]
    assert found["setting"]["without a name"] == "the adapter is left out: the base's videos"


def test_an_adapter_that_shows_the_base_s_own_puppets_misses_its_promise(run, player, tmp_path):
    player.knows = lambda source: False
    found = character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)
    assert values(found)[NAMED] == 0 and not found["met"]
    assert "faults.png" in found["pictures"]


def test_a_stopped_report_goes_on_and_makes_nothing_twice(run, player, tmp_path):
    stopped = character.report(run.folder, tmp_path / "out", replace(EFFORT, minutes=0), say=lambda line: None)
    assert (
        player.made == 0
        and NAMED not in values(stopped)
        and not stopped["met"]
        and "0 of" in stopped["setting"]["videos"]
    )
    character.report(run.folder, tmp_path / "out", replace(EFFORT, seeds=1), say=lambda line: None)
    once = player.made
    said: list[str] = []
    character.report(run.folder, tmp_path / "out", EFFORT, say=said.append)
    made = [line for line in said if "seed 1" in line]
    assert f"base, seed 1, report-named: 1 of {PROMPTS} videos" in made and len(made) == 4 * PROMPTS
    assert player.made == 2 * once
    looked = (tmp_path / "out" / "clips" / "base" / "report-named" / jury.SEEN).read_text()
    again = character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)
    assert player.made == 2 * once and values(again)[NAMED] == 1
    fewer = character.report(run.folder, tmp_path / "out", replace(EFFORT, seeds=1), say=lambda line: None)
    trials = [row["estimates"]["adapter"]["trials"] for row in (again["measures"][0], fewer["measures"][0])]
    assert trials == [2 * PROMPTS, PROMPTS]  # what was made before and not asked for now does not count
    assert (tmp_path / "out" / "clips" / "base" / "report-named" / jury.SEEN).read_text() == looked


def test_the_best_of_the_kept_adapters_is_marked_judged_and_can_be_added(run, player, tmp_path, monkeypatch):
    player.knows = lambda source: "00000001" not in source and "adapter/" not in source
    monkeypatch.setattr(character, "CHOOSING", (2, 1))
    found = character.report(run.folder, tmp_path / "out", EFFORT, every=True, say=lambda line: None)
    assert found["chosen"]["best"] == "00000002"  # of equals the earliest
    assert found["chosen"]["scores"]["00000001"]["named"] == 0
    assert not list((tmp_path / "out" / "clips" / "base").glob("choosing-*"))  # the base has nothing to be chosen
    assert found["setting"]["trained"] == str(run.folder / "best" / runs.FILE)
    assert store.locate(str(run.folder / "best")).read_bytes() == run.kept["00000002"].read_bytes()
    assert values(found)[NAMED] == 1


def test_another_base_or_other_lengths_are_refused(run, player, tmp_path):
    character.report(run.folder, tmp_path / "out", replace(EFFORT, minutes=0), say=lambda line: None)
    with pytest.raises(UsageError, match="use the same, or another folder"):
        character.report(run.folder, tmp_path / "out", replace(EFFORT, frames=17), say=lambda line: None)
    player.rack.base_sha256 = "another"
    with pytest.raises(UsageError, match="not the one that the run began with"):
        character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)


def test_videos_of_other_prompts_and_clips_that_changed_are_refused(run, player, tmp_path, monkeypatch):
    character.report(run.folder, tmp_path / "out", replace(EFFORT, minutes=0), say=lambda line: None)
    monkeypatch.setattr(asks, "theatre", functools.partial(lambda f, d, n, key: f(d, n, f"other {key}"), asks.theatre))
    with pytest.raises(UsageError, match="holds videos of other prompts; use the same, or another folder"):
        character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)
    split = json.loads((run.folder / "clips.json").read_text())
    (run.folder / "clips.json").write_text(json.dumps({**split, "sha256": {"dawa-001": "before"}}))
    with pytest.raises(UsageError, match="dawa-001 is not what the run was shown"):
        runs.read(run.folder)


def test_both_tellings_of_a_scene_are_in_one_group(run, player, tmp_path, monkeypatch):
    sets, measures = [], character._measures

    def measured(studio, *given):
        sets.append(given[0])
        return measures(studio, *given)

    monkeypatch.setattr(character, "_measures", measured)
    character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)
    assert sorted(shown.group for shown in sets[0].named["adapter"]) == [0, 0, 0, 0, 1, 1]
    assert sorted(shown.group for shown in sets[0].named["real"]) == [0, 1]


def test_a_video_that_must_begin_with_a_picture_begins_with_a_held_out_one(run, player, tmp_path):
    said, config = [], SimpleNamespace(tasks=("image",))
    studio = SimpleNamespace(
        run=run,
        out=tmp_path,
        theatre=False,
        eye=SimpleNamespace(knows={"dawa", "erwa"}),
        base=SimpleNamespace(checkpoint=SimpleNamespace(config=config)),
        say=said.append,
    )
    asked = character._asks(studio, "report", 4)
    assert len(asked["named"]) == 4 and asked["plain"] == []  # no clip shows nobody
    clips = {clip.names: clip for clip in run.held_out}
    for ask in asked["named"]:
        first = frames_of(run.dataset.path(clips[ask.names]))[0]
        assert (read_image(ask.first) == first).all()


def test_who_was_never_asked_for_is_named_and_real_clips_are_of_all_that_was_held_out(
    run, player, tmp_path, monkeypatch
):
    monkeypatch.setattr(character, "REAL", 2)
    clips = tuple(replace(run.held_out[0], id=str(number)) for number in range(4))
    assert [clip.id for clip in character._real(replace(run, held_out=clips))] == ["0", "2"]
    few = replace(EFFORT, prompts=2, seeds=1, minutes=0)
    found = character.report(run.folder, tmp_path / "out", few, say=lambda line: None)
    assert found["setting"]["never asked for"] == "ErWa"


def test_footage_that_nothing_here_can_judge_is_said(run, player, tmp_path):
    player.checkpoint.config = replace(NANO, name="cogvideox-2b")
    with pytest.raises(UsageError, match="--embedder"):
        character.report(run.folder, tmp_path / "out", EFFORT, say=lambda line: None)


def test_what_is_no_run_is_named(run, tmp_path):
    with pytest.raises(UsageError, match="no run, recipe"):
        runs.read(tmp_path)
    shutil.move(tmp_path / "ds", tmp_path / "moved")
    with pytest.raises(UsageError, match="--dataset"):
        runs.read(run.folder)
    assert runs.read(run.folder, tmp_path / "moved").learned == run.learned
    (run.folder / "clips.json").write_text('{"learned": ["mia-1"], "held_out": []}')
    with pytest.raises(UsageError, match="lacks mia-1"):
        runs.read(run.folder, tmp_path / "moved")
    (run.folder / "clips.json").write_text("[]")
    with pytest.raises(PiyingError, match="broken"):
        runs.read(run.folder)
