import pytest

from piying.errors import UsageError
from piying.train.nano import recipe

SMALL = """
[[vae.phases]]
steps = 2
batch = 1
pool = 4
[[transformer.phases]]
steps = 2
batch = 1
pool = 4
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


@pytest.mark.parametrize("name", ["nano.toml", "nano-cpu.toml"])
def test_the_shipped_recipes_are_valid(name):
    read = recipe.read(recipe.RECIPE.with_name(name))
    assert read.model.name == "nano"
    assert read.transformer.phases[-1].size == read.model.size


def test_a_recipe_states_only_what_differs(path):
    read = recipe.read(path)
    assert read.transformer.drop == 0.1
    assert read.vae.phases == (recipe.Phase(steps=2, batch=1, pool=4),)


def test_overrides_reach_every_depth_and_keep_what_stands_beside_them(path):
    read = recipe.read(path, ["transformer.drop=0.25", "model.transformer.layers = 2", "model.licence=MIT", "seed=7"])
    assert (read.transformer.drop, read.model.transformer.layers, read.model.licence, read.seed) == (0.25, 2, "MIT", 7)
    assert read.model.transformer.heads == recipe.read(path).model.transformer.heads


def test_a_whole_number_serves_as_a_number(path):
    assert recipe.read(path, ["vae.kl=1"]).vae.kl == 1.0


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("transformer.dorp=0.2", "transformer.dorp: unknown"),
        ("transformer.drop=often", "transformer.drop='often': must be a number"),
        ("vae.phases=[{steps=1.5, batch=1, pool=1}]", "vae.phases[0].steps=1.5: must be a whole number"),
        ("vae.phases=[{steps=1}]", "vae.phases[0].batch: missing"),
        ("vae.phases=[{steps=1, batch=1, pool=1, frames=50}]", "vae.phases[0].frames=50: use 8n+1 up to 49, e.g. 9"),
        ("vae.phases=[{steps=1, batch=0, pool=1}]", "vae.phases[0]: steps, batch and pool must be at least 1"),
        ("transformer.phases=[{steps=1, batch=1, pool=1, size=[96, 100]}]", "96x100 is not divisible by 16"),
        ("model.size=[96]", "model.size=[96]: must be a list of 2, each int"),
        ("model.sampler=euler", "model.sampler='euler': must be one of ddim, dpm"),
        ("model.text.width=100", "model.transformer.text_width=192: must equal model.text.width=100"),
        ("seed=true", "seed=True: must be a whole number"),
        ("seed", "write key=value"),
        ("seed.deep.er=1", "seed={'deep': {'er': 1}}: must be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(path, override, line):
    with pytest.raises(UsageError) as refusal:
        recipe.read(path, [override])
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        recipe.read(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match="not valid TOML"):
        recipe.read(tmp_path / "broken.toml")
