"""What a fine-tuning leaves for others: read again, and the same."""

import shutil
from dataclasses import replace

import pytest
import torch
from tuned import run

from piying import weights
from piying.adapters import attach, file
from piying.adapters.merge import merge
from piying.errors import PiyingError
from piying.train.tune import export as module
from piying.train.tune.export import export


def test_every_export_is_read_again_and_does_what_the_trainer_does(dataset, tiny, recipe, tmp_path):
    tuned, _, read = run(dataset, tiny, recipe, tmp_path / "run", "steps=10", "optimizer.rate=0.05")
    made = export(tuned, read, tmp_path / "run", whole=True)
    folder = tmp_path / "run" / "adapter"
    assert [one.path.name for one in made] == [
        "pytorch_lora_weights.safetensors",
        "kohya.safetensors",
        "comfyui.safetensors",
        "model",
    ]
    assert [one.distance for one in made[:3]] == [0, 0, 0] and 0 < made[3].distance < 1e-3
    for name, parameter in tuned.transformer.state_dict().items():
        assert torch.equal(parameter, weights.load(tiny).transformer.state_dict()[name]), name
    given = torch.randn(1, 3, 32, 4, 6), torch.randn(1, 8, 24), torch.tensor([300])
    merged = weights.load(tmp_path / "run" / "model").transformer
    plain = weights.load(tiny).transformer
    with torch.no_grad():
        wanted = merged(*given)
        for path in made[:3]:
            with attach.attached(plain, attach.fit(plain, file.read(path.path))):
                torch.testing.assert_close(plain(*given), wanted, rtol=1e-3, atol=1e-3)
        assert (plain(*given) - wanted).abs().max() > 0.01
    card = (folder / "README.md").read_text("utf-8")
    assert "| boat | 艇 | fog |" in card and "Rank 2, alpha 4" in card and "| 10 |" in card
    assert file.read(folder).aliases == {"艇": "boat"}


@pytest.fixture
def half(tiny, tmp_path):
    """The same model in bfloat16."""
    model, config = weights.load(tiny), replace(weights.load(tiny).config, precision="bfloat16")
    weights.save(replace(model, config=config), tmp_path / "half", torch.bfloat16)
    return tmp_path / "half"


def test_an_export_that_does_otherwise_is_refused_and_leaves_nothing(dataset, half, recipe, tmp_path, monkeypatch):
    """Of an adapter that changes little: twice its alpha drowns in the rounding of the whole prediction."""
    tuned, _, read = run(dataset, half, recipe, tmp_path / "run", "steps=2")
    original = module.file.read
    monkeypatch.setattr(module.file, "read", lambda path: module.file.with_alpha(original(path), 8.0))
    with pytest.raises(PiyingError, match=r"pytorch_lora_weights.safetensors: .* alpha did not come back"):
        export(tuned, read, tmp_path / "run", whole=False)
    assert not list((tmp_path / "run" / "adapter").iterdir())


def test_a_model_in_half_precision_is_merged_within_what_rounding_takes(dataset, half, recipe, tmp_path, monkeypatch):
    tuned, _, read = run(dataset, half, recipe, tmp_path / "run", "steps=10")
    assert 0 < export(tuned, read, tmp_path / "run", whole=True)[3].distance < 0.2
    shutil.rmtree(tmp_path / "run" / "model")
    monkeypatch.setattr(module, "merge", lambda transformer, given: merge(transformer, [(given[0][0], 0.0)]))
    with pytest.raises(PiyingError, match=r"model: merging would round off all that was learned; use the adapter"):
        export(tuned, read, tmp_path / "run", whole=True)
    assert len(list((tmp_path / "run" / "adapter").iterdir())) == 4
    assert not list((tmp_path / "run").glob("*model*"))


def test_what_does_not_come_back_from_the_disk_is_refused(dataset, tiny, recipe, tmp_path, monkeypatch):
    values = ("kind=full", "preserve=0.0", "optimizer.ema=0.0")
    tuned, _, read = run(dataset, tiny, recipe, tmp_path / "run", *values)

    def load(*given):
        again = original(*given)
        again.proj_out.bias[0] += 1e-6
        return again

    original = module.load
    monkeypatch.setattr(module, "load", load)
    with pytest.raises(PiyingError, match=r"model: proj_out.bias did not come back"):
        export(tuned, read, tmp_path / "run", whole=False)
    assert not list((tmp_path / "run").glob("*model*"))


def test_a_full_training_leaves_a_model_that_loads(dataset, tiny, recipe, tmp_path):
    values = ("kind=full", "preserve=0.0", "optimizer.ema=0.0")
    tuned, _, read = run(dataset, tiny, recipe, tmp_path / "run", *values)
    (made,) = export(tuned, read, tmp_path / "run", whole=False)
    assert made.distance == 0
    moved = weights.load(made.path).transformer.state_dict()
    untouched = weights.load(tiny).transformer.state_dict()
    assert all((moved[name] - untouched[name]).abs().max() > 0 for name in untouched)
