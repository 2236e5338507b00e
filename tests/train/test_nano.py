import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from piying import weights
from piying.errors import PiyingError, UsageError
from piying.train import checkpoint
from piying.train.nano import recipe, stages, tokenizer
from piying.train.nano.recipe import locate
from piying.train.nano.text import ACTOR, ACTORS, APART, SCENE, answers

TOY = """
validation = 2
save_every = 2
validate_every = 3
sheet_every = 3
log_every = 2

[model]
size = [16, 32]
frames = 17
steps = 1

[model.transformer]
layers = 1
heads = 1
patch = [2, 2, 2]
time_width = 32
text_width = 32
latent_size = [2, 4]
frames = 17

[model.vae]
channels = [8, 8, 8, 8]

[model.text]
vocabulary = 1000
width = 32
layers = 1
heads = 1
head_width = 32
ff_width = 32

[[vae.phases]]
steps = 2
batch = 2
pool = 2
frames = 9
size = [16, 32]
crop = [16, 16]

[[vae.phases]]
steps = 1
batch = 1
pool = 2
frames = 9
size = [16, 32]

[text]
steps = 3
batch = 4

[[transformer.phases]]
steps = 2
batch = 2
pool = 3
frames = 17
size = [16, 32]

[[transformer.phases]]
steps = 1
batch = 2
pool = 2
frames = 17
size = [32, 48]
"""


QUESTIONS = [*((fact,) for fact in SCENE), *((actor, fact) for fact in ACTOR for actor in ACTORS)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.toml"
    path.write_text(TOY)
    return recipe.read(path)


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """A whole training that was never interrupted: its folder, its model, its events."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "CAPTIONS", 100)
        out, events = tmp_path_factory.mktemp("trained"), []
        folder = stages.train_nano(toy, out, device="cpu", on_event=events.append)
    return out, folder, events


@pytest.fixture(autouse=True)
def quick_tokenizer(monkeypatch):
    monkeypatch.setattr(tokenizer, "CAPTIONS", 100)


def test_a_training_ends_in_a_folder_that_loads(trained):
    _, folder, _ = trained
    checkpoint = weights.load(folder)
    assert checkpoint.words and "boat" in checkpoint.words["en"]
    assert checkpoint.config.vae.latent_scale == checkpoint.config.vae.image_latent_scale != 0.7
    assert checkpoint.transformer.proj_out.weight.abs().sum() > 0
    stored = next(folder.glob("transformer/*.safetensors")).read_bytes()
    assert b'"F16"' in stored


def test_what_no_caption_has_ends_with_long_embeddings_and_nothing_else_does(trained):
    _, folder, _ = trained
    made = weights.load(folder)
    lengths = made.text.embedding.weight.float().norm(dim=1) / made.text.embedding.weight.shape[1] ** 0.5
    silent = tokenizer.unheard(made.tokenizer.files["tokenizer.json"].decode())
    others = sorted({*range(len(lengths))} - {*silent})
    torch.testing.assert_close(lengths[silent], torch.full((len(silent),), APART), rtol=1e-2, atol=0)
    assert lengths[others].max() < 3


def test_a_training_stopped_after_every_step_ends_in_the_same_weights(toy, trained, tmp_path):
    whole, folder, _ = trained
    runs = 0
    while (ended := stages.train_nano(toy, tmp_path, device="cpu", minutes=0, resume=True, on_event=str)) is None:
        runs += 1
    assert runs >= 4
    for stage in stages.STAGES:
        step, tensors = checkpoint.read(whole / stage)
        again, resumed = checkpoint.read(tmp_path / stage)
        assert again == step == 3
        assert resumed.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, resumed[name]), f"{stage}: {name}"
    for path in folder.rglob("*.safetensors"):
        assert path.read_bytes() == (ended / path.relative_to(folder)).read_bytes()


def test_a_killed_training_goes_on_from_its_last_checkpoint_and_repeats_no_line_of_the_log(toy, trained, tmp_path):
    class Killed(Exception):
        pass

    def kill(event):
        if event.stage == "vae" and event.step == 3:
            raise Killed

    with pytest.raises(Killed):
        stages.train_nano(toy, tmp_path, device="cpu", stages=("vae",), on_event=kill)
    assert checkpoint.steps(tmp_path / "vae") == [2]
    assert stages.train_nano(toy, tmp_path, device="cpu", stages=("vae",), resume=True, on_event=str) == tmp_path
    _, tensors = checkpoint.read(trained[0] / "vae")
    _, resumed = checkpoint.read(tmp_path / "vae")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in tensors.items())
    lines = [json.loads(line) for line in (tmp_path / "vae.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 3]


@pytest.mark.parametrize("chosen", [("transformer",), ("text", "transformer"), ("vae", "text", "transformer")])
def test_of_a_model_that_is_begun_with_those_stages_go_on_that_are_asked_for(toy, trained, tmp_path, chosen):
    _, folder, _ = trained
    begun = replace(toy, start=str(folder))
    more = stages.train_nano(begun, tmp_path, device="cpu", stages=chosen, on_event=str)
    learned = {"vae": "vae", "text": "text_encoder", "transformer": "transformer"}
    for path in folder.rglob("*.safetensors"):
        before, after = load_file(path), load_file(more / path.relative_to(folder))
        changed = sum((tensor.float() - after[name].float()).norm() ** 2 for name, tensor in before.items())
        whole = sum(tensor.float().norm() ** 2 for tensor in before.values())
        assert (changed > 0) == (path.parent.name in {learned[stage] for stage in chosen}), path
        assert changed < 0.1 * whole, path  # three steps away, not drawn anew
    assert (folder / "tokenizer/tokenizer.json").read_bytes() == (more / "tokenizer/tokenizer.json").read_bytes()


def test_a_decoder_that_learns_alone_leaves_latents_and_all_that_reads_them_as_they_were(toy, trained, tmp_path):
    _, folder, _ = trained
    alone = replace(toy, start=str(folder), vae=replace(toy.vae, encoder=False))
    more = stages.train_nano(alone, tmp_path, device="cpu", stages=("vae",), on_event=str)
    changed = set()
    for path in folder.rglob("*.safetensors"):
        before, after = load_file(path), load_file(more / path.relative_to(folder))
        changed |= {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {"decoder"}
    assert weights.load(more).config == weights.load(folder).config
    with pytest.raises(UsageError, match="name one with start"):
        recipe.read(overrides=["vae.encoder=false"])


def test_a_rate_of_zero_leaves_a_model_as_it_began(toy, trained, tmp_path):
    _, folder, _ = trained
    still = replace(toy.transformer, optimizer=replace(toy.transformer.optimizer, rate=0.0, matrix_rate=0.0))
    begun = replace(toy, start=str(folder), transformer=still)
    more = stages.train_nano(begun, tmp_path, device="cpu", stages=("transformer",), on_event=str)
    for path in folder.rglob("*.safetensors"):
        before, after = load_file(path), load_file(more / path.relative_to(folder))
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()), path


def test_what_is_told_of_an_actor_is_asked_of_that_actor():
    told = {"subject": "cat", "colour": "red", "subject2": "boat", "motion2": "left", "backdrop": "sea"}
    asked = dict(zip(QUESTIONS, answers(told), strict=True))
    assert {question for question, answer in asked.items() if answer} == {
        ("backdrop",),
        ("cat", "subject"),
        ("cat", "colour"),
        ("boat", "subject"),
        ("boat", "motion"),
    }
    assert answers({"subject2": "cat", "colour2": "red", "subject": "boat", "motion": "left", "backdrop": "sea"}) == (
        answers(told)
    )
    nameless = dict(zip(QUESTIONS, answers({"colour": "red"}), strict=True))
    assert {question for question, answer in nameless.items() if answer} == {
        ("anyone", "subject"),
        ("anyone", "colour"),
    }


def test_a_start_of_another_shape_is_refused_before_the_folder_is_marked(toy, trained, tmp_path):
    _, folder, _ = trained
    wider = replace(toy.model, text=replace(toy.model.text, vocabulary=900))
    with pytest.raises(UsageError, match="another shape"):
        stages.train_nano(replace(toy, start=str(folder), model=wider), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_log_tells_losses_pace_and_what_was_held_out(trained):
    out, _, events = trained
    lines = [json.loads(line) for line in (out / "transformer.jsonl").read_text().splitlines()]
    assert {"step", "loss", "v", "gradient", "samples/s", "seconds left"} <= lines[0].keys()
    held_out = [line for line in lines if "held out v at +0" in line]
    assert held_out[-1]["step"] == 3 and "held out v at the end" in held_out[-1]
    sheets = [event.path for event in events if event.path and event.path.suffix == ".png"]
    assert [path.name for path in sheets] == ["vae-00000003.png", "transformer-00000003.png"]
    assert all(path.is_file() for path in sheets)
    assert str(events[0]).startswith("vae 2/3  loss ")


def test_one_stage_alone_needs_those_before_it(toy, tmp_path):
    with pytest.raises(UsageError, match="add it to the stages"):
        stages.train_nano(toy, tmp_path, device="cpu", stages=("transformer",))


def test_a_folder_in_use_is_refused_unless_the_same_training_goes_on_there(toy, trained):
    out, _, _ = trained
    with pytest.raises(UsageError, match="holds a training"):
        stages.train_nano(toy, out, device="cpu")
    with pytest.raises(UsageError, match="another recipe"):
        stages.train_nano(replace(toy, seed=1), out, device="cpu", resume=True)


def test_the_recipe_appears_whole_or_not_at_all(toy, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(PiyingError, match=r"recipe.json: .*No space left on device"):
        stages.train_nano(toy, tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_lost_are_not_saved(toy, tmp_path):
    fast = replace(
        toy, vae=replace(toy.vae, optimizer=replace(toy.vae.optimizer, rate=1e30, matrix_rate=1e30, warmup=1))
    )
    with pytest.raises(PiyingError, match="not finite"):
        stages.train_nano(fast, tmp_path, device="cpu", stages=("vae",), on_event=str)
    assert checkpoint.steps(tmp_path / "vae") == []


def test_too_small_a_vocabulary_is_refused(toy, tmp_path):
    small = replace(toy, model=replace(toy.model, text=replace(toy.model.text, vocabulary=300)))
    with pytest.raises(UsageError, match="use at least as many rows"):
        stages.train_nano(small, tmp_path, device="cpu")


def test_steps_belong_to_the_phase_they_fall_into():
    phases = tuple(recipe.Phase(steps=steps, batch=1, pool=1) for steps in (2, 3))
    assert [locate(phases, step) for step in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
