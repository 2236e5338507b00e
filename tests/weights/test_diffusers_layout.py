"""Configurations through the JSON of diffusers and back."""

from dataclasses import replace

import pytest

from piying.config import COGVIDEOX_2B, COGVIDEOX_15_5B_I2V, FAMILY, NANO
from piying.weights import diffusers_layout, t5


@pytest.mark.parametrize("member", FAMILY.values(), ids=lambda member: member.name)
def test_every_member_is_known_again_by_how_it_is_built(member, tmp_path):
    diffusers_layout.write(member, None, "T5Tokenizer", tmp_path)
    (tmp_path / "piying.json").unlink()
    assert diffusers_layout.read(tmp_path) == (member, None)


def test_another_model_takes_its_own_numbers_and_the_rest_from_its_kin(tmp_path):
    transformer = replace(COGVIDEOX_2B.transformer, layers=3, latent_size=(30, 40), frames=33)
    diffusers_layout.write(replace(COGVIDEOX_2B, transformer=transformer), None, "T5Tokenizer", tmp_path / "mine")
    (tmp_path / "mine" / "piying.json").unlink()
    config, _ = diffusers_layout.read(tmp_path / "mine")
    assert config == replace(COGVIDEOX_2B, name="mine", hub=None, transformer=transformer, frames=33, size=(240, 320))


def test_what_piying_json_says_comes_first(tmp_path):
    told = replace(NANO, name="mine", fps=12, guidance=2, sampler="ddim", tasks=("text",), size=(64, 64))
    diffusers_layout.write(told, {"en": ["boat"], "zh": ["船"]}, "T5Tokenizer", tmp_path)
    assert diffusers_layout.read(tmp_path) == (told, {"en": ["boat"], "zh": ["船"]})


def test_the_text_names_cover_every_parameter_once():
    names = t5.names(NANO.text)
    assert len(set(names.values())) == len(names) == 3 + 9 * NANO.text.layers


def test_a_model_of_many_sizes_is_known_whichever_its_file_says(tmp_path):
    transformer = replace(COGVIDEOX_15_5B_I2V.transformer, latent_size=(96, 170))
    diffusers_layout.write(replace(COGVIDEOX_15_5B_I2V, transformer=transformer), None, "T5Tokenizer", tmp_path)
    (tmp_path / "piying.json").unlink()
    assert diffusers_layout.read(tmp_path) == (replace(COGVIDEOX_15_5B_I2V, transformer=transformer), None)
