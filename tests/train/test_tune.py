"""A whole fine-tuning at toy size: what is learned, what is left, how it is stopped and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import toy_checkpoint
from tuned import final, run, same

from piying import weights
from piying.adapters import file
from piying.adapters.advice import called
from piying.config import COGVIDEOX_5B_I2V
from piying.data.dataset import Member, write_cast
from piying.data.describe import frames_of
from piying.errors import OutOfMemory, UsageError
from piying.train import checkpoint
from piying.train.tune import previews, tuning
from piying.train.tune import tune as tune_module
from piying.train.tune.card import card
from piying.train.tune.export import export
from piying.video import read_image


def test_a_cpu_trains_in_half_precision_where_it_has_instructions_for_it(dataset, tiny, recipe, tmp_path, monkeypatch):
    learned = []
    for fast in (True, False):
        monkeypatch.setattr(tune_module, "bfloat16_is_fast", lambda fast=fast: fast)
        run(dataset, tiny, recipe, tmp_path / str(fast), "steps=2", "prompts=[]")
        learned.append(final(tmp_path / str(fast)))
    half, whole = ([one[name] for name in one if name.startswith("model/")] for one in learned)
    assert not all(map(torch.equal, half, whole))
    assert all(a.dtype == b.dtype == torch.float32 for a, b in zip(half, whole, strict=True))
    apart = torch.cat([(a - b).flatten() for a, b in zip(half, whole, strict=True)]).norm()
    assert apart < 0.05 * torch.cat([b.flatten() for b in whole]).norm()


def test_an_adapter_learns_while_the_base_stays_what_it_is(dataset, tiny, recipe, tmp_path, log):
    tuned, heard, _ = run(dataset, tiny, recipe, tmp_path / "run", "steps=30", "preserve=0.0", "validate_every=15")
    untouched = weights.load(tiny).transformer
    for name, parameter in tuned.transformer.state_dict().items():
        assert torch.equal(parameter, untouched.state_dict()[name]), name
    layers = tuned.learned.adapter().layers
    assert all(layer.up.abs().max() > 0 for layer in layers.values()) and len(layers) == 4
    assert {layer.alpha for layer in layers.values()} == {4.0}
    lines = log(tmp_path / "run")
    losses = [line["v"] for line in lines if "v" in line]
    assert sum(losses[-10:]) < sum(losses[:10])
    held_out = [line for line in lines if "held out v at +0" in line]
    assert [line["step"] for line in held_out] == [15, 30]
    assert any(line.startswith("one step: ") and "GiB at most" in line for line in heard)


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_a_run_stopped_after_every_step_ends_in_the_same_weights(dataset, tiny, recipe, tmp_path, kind):
    values = [f"kind={kind}", *(["preserve=0.0"] if kind == "full" else [])]
    whole, _, _ = run(dataset, tiny, recipe, tmp_path / "whole", *values)
    assert whole
    stopped = [run(dataset, tiny, recipe, tmp_path / "parts", *values, minutes=0)[0]]
    while stopped[-1] is None:
        stopped.append(run(dataset, tiny, recipe, tmp_path / "parts", *values, minutes=0, resume=True)[0])
    assert len(stopped) == 4
    same(final(tmp_path / "whole"), final(tmp_path / "parts"))


MANY = ("steps=40", "save_every=3", "sheet_every=40", 'prompts=["a red 艇"]')
KILLED = """
import sys
from piying.train.tune import tuning
from piying.train.tune.tune import tune
from pathlib import Path

dataset, model, recipe, out, resume, *values = sys.argv[1:]
read = tuning.read(Path(recipe), values, "tiny")
tune(Path(dataset), model, read, Path(out), device="cpu", resume=resume == "resume")
"""


def test_a_run_killed_with_no_warning_ends_in_the_same_weights(dataset, tiny, recipe, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)

    def start(out, how):
        arguments = [sys.executable, script, dataset, tiny, recipe, out, how, *MANY]
        return subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    killed = start(tmp_path / "killed", "new")
    while not checkpoint.steps(tmp_path / "killed" / "train"):
        assert killed.poll() is None, killed.stdout.read().decode()
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    before = max(checkpoint.steps(tmp_path / "killed" / "train"))
    assert 0 < before < 40
    ended = start(tmp_path / "killed", "resume")
    assert ended.wait(100) == 0, ended.stdout.read().decode()
    run(dataset, tiny, recipe, tmp_path / "whole", *MANY)
    same(final(tmp_path / "whole"), final(tmp_path / "killed"))
    lines = [json.loads(line)["step"] for line in (tmp_path / "killed" / "train.jsonl").read_text().splitlines()]
    assert lines == sorted(lines)


def test_what_an_adapter_trains_is_counted_before_it_is_made(dataset, tiny, recipe, tmp_path):
    """`proj` names one layer, and not text_proj too."""
    tuned, _, read = run(dataset, tiny, recipe, tmp_path / "run", 'targets=["proj", "to_q"]', "steps=1")
    made = sum(parameter.numel() for parameter in tuned.learned.parameters())
    assert tune_module._trained(tuned.ready, read) == made


def test_blocks_run_twice_lead_to_the_same_adapter(dataset, tiny, recipe, tmp_path, monkeypatch):
    from piying.train.tune.savings import Savings

    run(dataset, tiny, recipe, tmp_path / "plain")
    for name, way in (("recompute", Savings(recompute=True)), ("stream", Savings(recompute=True, stream=True))):
        monkeypatch.setattr("piying.train.tune.savings.ways", lambda *given, way=way, **more: [way])
        run(dataset, tiny, recipe, tmp_path / name)
        for key, tensor in final(tmp_path / "plain").items():
            torch.testing.assert_close(final(tmp_path / name)[key], tensor, rtol=1e-3, atol=1e-5, msg=key)


def test_videos_on_the_way_change_nothing_and_show_the_alias(dataset, tiny, recipe, tmp_path):
    run(dataset, tiny, recipe, tmp_path / "blind")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(dataset, tiny, recipe, tmp_path / "shown", 'prompts=["a red 艇"]', "drop=0.1")
    assert torch.equal(before, torch.get_rng_state())
    blind, shown = final(tmp_path / "blind"), final(tmp_path / "shown")
    same(blind, shown)
    sheets = tmp_path / "shown" / "sheets"
    names = [f"train-0000000{step}{end}" for step in (2, 4) for end in ("-1.mp4", ".png")]
    assert sorted(path.name for path in sheets.iterdir()) == ["before-1.mp4", *names]
    kept = file.read(tmp_path / "shown" / "adapters" / "00000004.safetensors")
    assert kept.aliases == {"艇": "boat"} and kept.triggers == ("boat",) and kept.base == "tiny"


@pytest.mark.parametrize("error", [UsageError("no such picture"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_video_on_the_way_that_fails_is_named_and_ends_nothing(dataset, tiny, recipe, tmp_path, monkeypatch, error):
    run(dataset, tiny, recipe, tmp_path / "blind")
    saved, out = [], tmp_path / "run"

    def show(*given):
        saved.append(checkpoint.steps(out / "train")[-1])
        raise error

    monkeypatch.setattr("piying.train.tune.tune.show", show)
    tuned, heard, _ = run(dataset, tiny, recipe, out, 'prompts=["a red 艇"]')
    assert tuned and saved == [2, 4]  # what was learned until then is on the disk
    assert [line.split(": ")[1] for line in heard if "train-00000002.png" in line] == [
        "not made, no such picture"
        if isinstance(error, UsageError)
        else "not made, does not fit into memory beside the training"
    ]
    assert not any("does not fit (" in line for line in heard)
    same(final(tmp_path / "blind"), final(out))


def test_a_model_that_starts_from_an_image_is_shown_with_the_first_frame_of_a_held_out_clip(dataset, recipe, tmp_path):
    folder, out = tmp_path / "i2v", tmp_path / "run"
    weights.save(toy_checkpoint(COGVIDEOX_5B_I2V), folder, torch.float32)
    tuned, heard, _ = run(dataset, folder, recipe, out, 'prompts=["a red boat"]', "preserve=0.0")
    assert tuned and not any("not made" in line for line in heard)
    first = read_image(out / "sheets" / "first-frame.png")
    clip = tuned.ready.held_out[0].clip
    assert (first == frames_of(dataset / clip.media)[0]).all()
    assert (out / "sheets" / "train-00000004-1.mp4").is_file()


def test_the_shipped_prompts_name_the_first_of_the_cast():
    mia = Member(id="mia", token="Mia", aliases=("Little Mia", "小米"))
    prompts = tuning.read(None, [], "nano").prompts
    named = previews.addressed(prompts, [mia])
    assert named[0].startswith("Mia walks") and named[1].startswith("小米 在") and named[2] == prompts[2]
    assert previews.addressed(prompts, []) == prompts[2:]


def test_what_only_looks_on_may_change_on_the_way(dataset, tiny, recipe, tmp_path):
    out = tmp_path / "run"
    run(dataset, tiny, recipe, out, 'prompts=["a red 艇"]')
    before = (out / "sheets" / "before-1.mp4").read_bytes()
    values = ('prompts=["a boat"]', "log_every=2", "save_every=1", "validate_every=4", "sheet_every=1")
    (out / "train" / "step-00000004").rename(out / "gone")
    run(dataset, tiny, recipe, out, *values, resume=True)
    assert (out / "sheets" / "before-1.mp4").read_bytes() != before  # another prompt


def test_what_is_held_out_is_held_out_by_whole_episodes(dataset, tiny, recipe, tmp_path):
    tuned, _, _ = run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    assert tuned is None
    tuned, _, _ = run(dataset, tiny, recipe, tmp_path / "run", resume=True)
    learned = {one.clip.episode for one in tuned.ready.examples.shown}
    held_out = {one.clip.episode for one in tuned.ready.held_out}
    assert len(held_out) == 1 and len(learned) == 3 and not learned & held_out


def test_nobody_of_the_cast_is_held_out_whole(dataset, tiny, recipe, tmp_path):
    lines = [json.loads(line) for line in (dataset / "clips.jsonl").read_text().splitlines()]
    for line in lines:  # three files: one each of the cast, and one with nobody
        line["names"] = {"episode-0": ["boat"], "episode-1": ["mia"], "episode-3": ["ann"]}.get(line["episode"], [])
    kept = [line for line in lines if line["episode"] != "episode-2"]
    (dataset / "clips.jsonl").write_text("\n".join(map(json.dumps, kept)))
    write_cast(dataset, [Member(id=name, token=name.title()) for name in ("boat", "mia", "ann", "ghost")])
    for seed in range(4):
        out = tmp_path / str(seed)
        _, heard, _ = run(dataset, tiny, recipe, out, "held_out=0.9", f"seed={seed}", "preserve=0", minutes=0)
        split = json.loads((out / "clips.json").read_text())
        learned = [line for line in kept if line["id"] in split["learned"]]
        assert split["sha256"] == {line["id"]: line["sha256"] for line in kept}
        assert {name for line in learned for name in line["names"]} == {"boat", "mia", "ann"}
        assert len(split["held_out"]) == len(kept) - 3
        assert "episode-1: is the last episode with Mia, so that at most single clips of it are held out" in heard
        assert "Ghost: no learned clip names them, so that they are not learned; run piying cast" in heard


def test_prior_clips_alone_are_refused(dataset, tiny, recipe, tmp_path):
    lines = [json.loads(line) | {"names": []} for line in (dataset / "clips.jsonl").read_text().splitlines()]
    (dataset / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(UsageError, match=r"prior=0.2: no clip names anyone of the cast; run piying cast, or set prior"):
        run(dataset, tiny, recipe, tmp_path / "run", "prior=0.2")


def test_a_log_whose_last_line_was_cut_off_is_gone_on_with(dataset, tiny, recipe, tmp_path, log):
    run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    with (tmp_path / "run" / "train.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    tuned, _, read = run(dataset, tiny, recipe, tmp_path / "run", resume=True)
    assert [line["step"] for line in log(tmp_path / "run") if "v" in line] == [1, 2, 3, 4]
    export(tuned, read, tmp_path / "run", whole=False)


def test_gradients_that_are_not_finite_are_skipped_counted_and_rolled_back_from(
    dataset, tiny, recipe, tmp_path, monkeypatch
):
    from piying.train.tune import tune as module

    original, poisoned = module.lesson, set(range(8, 14))

    def lesson(*given, **options):
        loss = original(*given, **options)
        calls = iter(range(10**6))

        def broken(model, example):
            value, facts = loss(model, example)
            return (value * torch.nan if next(calls) - 2 in poisoned else value), facts  # two calls are the trial's

        return broken

    monkeypatch.setattr(module, "lesson", lesson)
    values = ("steps=20", "validate_every=1000", "held_out=0.0", "log_every=1")
    tuned, heard, _ = run(dataset, tiny, recipe, tmp_path / "run", *values)
    assert tuned.learned.adapter().layers and all(
        layer.up.isfinite().all() for layer in tuned.learned.adapter().layers.values()
    )
    counted = [line for line in heard if "gradients not finite" in line]
    assert len(counted) == 6 and "gradients not finite 6" in counted[-1]
    assert [line for line in counted if "weights of step" in line] == [counted[4]]
    assert final(tmp_path / "run")["state/lost"].tolist() == [0, 6, 1]


def test_another_way_is_taken_only_before_the_first_step(dataset, tiny, recipe, tmp_path, monkeypatch):
    original, tried, full = tune_module.lesson, [], []

    def lesson(*given, **options):
        loss, calls = original(*given, **options), iter(range(10**6))

        def counted(model, example):
            tried.append(len(example.x0[0]))
            if next(calls) in full:
                raise OutOfMemory("out of memory")
            return loss(model, example)

        return counted

    monkeypatch.setattr(tune_module, "lesson", lesson)
    values = ("steps=40", "save_every=1", "held_out=0.0")

    def way(out):
        return json.loads((tmp_path / out / "trial.json").read_text())["savings"]

    full[:] = [0]
    with pytest.raises(OutOfMemory, match="out of memory; use shorter or smaller clips"):
        run(dataset, tiny, recipe, tmp_path / "never", *values)
    assert tried == [3, 3]  # both ways, with the largest clips
    full[:] = [4]  # two calls are the trial's
    with pytest.raises(OutOfMemory, match=r"nothing saved: fits no more \(out of memory\); make room"):
        run(dataset, tiny, recipe, tmp_path / "later", *values)
    begun = way("later")
    full[:] = [0]
    with pytest.raises(OutOfMemory, match="nothing saved: fits no more"):
        run(dataset, tiny, recipe, tmp_path / "later", *values, resume=True)
    full.clear()
    run(dataset, tiny, recipe, tmp_path / "later", *values, minutes=0, resume=True)
    assert way("later") == begun
    (tmp_path / "later" / "trial.json").write_text("")
    with pytest.raises(UsageError, match=r"trial.json: does not say how the run was begun"):
        run(dataset, tiny, recipe, tmp_path / "later", *values, resume=True)


def test_a_folder_in_use_or_of_another_training_is_refused(dataset, tiny, recipe, tmp_path):
    run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    with pytest.raises(UsageError, match="holds a training"):
        run(dataset, tiny, recipe, tmp_path / "run")
    with pytest.raises(UsageError, match="another recipe"):
        run(dataset, tiny, recipe, tmp_path / "run", "seed=1", resume=True)
    clips = (dataset / "clips.jsonl").read_text().replace("a red boat", "a boat")
    (dataset / "clips.jsonl").write_text(clips)
    with pytest.raises(UsageError, match="another dataset"):
        run(dataset, tiny, recipe, tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="holds no training"):
        run(dataset, tiny, recipe, tmp_path / "new", resume=True)
    (tmp_path / "run" / "recipe.json").write_text('{"vae": {}, "model": {}}')
    with pytest.raises(UsageError, match="holds another kind of training; choose another folder"):
        run(dataset, tiny, recipe, tmp_path / "run", resume=True)


def test_clips_that_the_model_cannot_take_are_named_and_left_out(dataset, tiny, recipe, tmp_path):
    lines = [json.loads(line) for line in (dataset / "clips.jsonl").read_text().splitlines()]
    lines[0]["frames"], lines[1]["size"] = 5, [32, 40]
    (dataset / "clips.jsonl").write_text("\n".join(map(json.dumps, lines)))
    _, heard, _ = run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    assert "clip-0: left out, 5 frames, this model takes 8n+1" in heard
    assert "clip-1: left out, 32x40 pixels, this model takes multiples of 16 and 16" in heard


def test_a_clip_whose_file_changed_since_it_was_made_is_named_and_left_out(dataset, tiny, recipe, tmp_path):
    run(dataset, tiny, recipe, tmp_path / "before", minutes=0)
    media = dataset / "media"
    shutil.copy(media / "1.mp4", media / "0.mp4")
    _, heard, _ = run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    assert "clip-0: left out, media/0.mp4 changed since prep; run piying prep again" in heard
    split = json.loads((tmp_path / "run" / "clips.json").read_text())
    assert "clip-0" not in split["learned"] + split["held_out"]
    for path in media.iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UsageError, match="no clip that tiny can take"):
        run(dataset, tiny, recipe, tmp_path / "none")


def test_clips_made_for_a_smaller_model_are_refused_before_a_run_begins(dataset, tiny, recipe, tmp_path):
    lines = (dataset / "clips.jsonl").read_text()
    (dataset / "clips.jsonl").write_text(lines.replace("[32, 48]", "[16, 32]"))
    with pytest.raises(UsageError, match=r"clips of 16x32 are too small for tiny, which makes 32x48; .*--model "):
        run(dataset, tiny, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (dataset / "clips.jsonl").write_text(lines.replace("[32, 48]", "[16, 32]", 1))
    _, heard, _ = run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    assert "clip-0: left out, 16x32 pixels, this model makes 32x48" in heard


def test_clips_without_a_caption_are_counted(dataset, tiny, recipe, tmp_path):
    lines = (dataset / "clips.jsonl").read_text()
    (dataset / "clips.jsonl").write_text(lines.replace('["a fog"]', "[]"))
    _, heard, _ = run(dataset, tiny, recipe, tmp_path / "run", minutes=0)
    assert "2 of 9 clips have no caption, so that the empty prompt learns their looks" in heard


@pytest.mark.parametrize(
    ("class_word", "value", "only"),
    [
        ("fog", "preserve=0.3", True),
        ("fog", "preserve=0", False),
        ("", "preserve=0.3", False),
        ("", "keep=['a fog']", True),
    ],
)
def test_an_adapter_claims_to_leave_the_base_alone_only_where_that_was_taught(
    dataset, tiny, recipe, tmp_path, class_word, value, only
):
    """Who has no class word is held by the prompts of `keep` alone."""
    write_cast(dataset, [Member(id="boat", token="boat", aliases=("艇",), class_word=class_word)])
    run(dataset, tiny, recipe, tmp_path / "run", "steps=1", value)
    assert file.read(tmp_path / "run" / "adapters" / "00000001.safetensors").only_named is only


@pytest.mark.parametrize(("value", "only"), [("keep=['a fog']", True), ("preserve=0.3", False)])
def test_a_style_listens_to_its_triggers_alone_where_the_base_was_kept(dataset, tiny, recipe, tmp_path, value, only):
    lines = (dataset / "clips.jsonl").read_text()
    (dataset / "clips.jsonl").write_text(lines.replace('"names": ["boat"]', '"names": []'))
    write_cast(dataset, [])
    values = "steps=1", "triggers=['woodcut', '木刻']", "preserve=0.3", value
    tuned, _, read = run(dataset, tiny, recipe, tmp_path / "run", *values)
    adapter = file.read(tmp_path / "run" / "adapters" / "00000001.safetensors")
    assert adapter.triggers == ("woodcut", "木刻") and adapter.only_named is only
    assert called(adapter, "木刻：一只猫") and not called(adapter, "a cat")
    assert 'generate "a red boat, woodcut" --model' in card(tuned, read, tmp_path / "run", adapter)


def test_captions_that_the_model_does_not_read_whole_are_counted(dataset, tiny, recipe, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "tiny")
    facts = json.loads((model / "piying.json").read_text("utf-8"))
    facts["words"] = None  # as of a published model, whose tokenizer alone tells what it reads
    (model / "piying.json").write_text(json.dumps(facts), "utf-8")
    lines = (dataset / "clips.jsonl").read_text()
    (dataset / "clips.jsonl").write_text(lines.replace('"a red boat"', f'"{"a red boat " * 5}"', 2))
    _, heard, _ = run(dataset, model, recipe, tmp_path / "run", minutes=0)
    cut, strange = [line for line in heard if " captions " in line]
    assert cut.startswith("2 of 15 captions are cut: tiny reads 8 tokens") and 'e.g. "a red boat a red' in cut
    assert "captions hold what tiny cannot read, e.g. " in strange


def test_a_recipe_is_checked(recipe):
    wrong = (
        ("preserve=1.5", "a share"),
        ("steps=0", "at least 1"),
        ("triggers=['woodcut', ' ']", "one of them is empty"),
    )
    for value, words in wrong:
        with pytest.raises(UsageError, match=words):
            tuning.read(recipe, [value], "tiny")
    with pytest.raises(UsageError, match="no base left"):
        tuning.read(recipe, ["kind=full"], "tiny")
    with pytest.raises(UsageError, match=r"optimizer.matrix_rate: no fine-tuning has it"):
        tuning.read(recipe, ["optimizer.matrix_rate=0.1"], "tiny")
    with pytest.raises(UsageError, match=r"optimizer.clip: Adam in 8 bits"):
        tuning.read(recipe, ["kind=full", "preserve=0.0", "optimizer.clip=0.1"], "tiny")
    assert tuning.read(recipe, ["optimizer.clip=0.1"], "tiny").optimizer.clip == 0.1
    assert tuning.read(None, [], "cogvideox-2b").rank == 128
    assert tuning.read(None, [], "nano").weighting == "flow"


def test_the_shipped_recipes_are_ones(recipe):
    assert replace(tuning.read(tuning.CHARACTER, [], "nano"), seed=1).kind == "lora"
    assert Path(tuning.CHARACTER).name == "character.toml"
