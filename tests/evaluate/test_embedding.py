"""A vision model's vectors, against transformers' own forward; the models are random and tiny."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)

from piying.errors import PiyingError, UsageError
from piying.evaluate.embedding import FRAMES, Embedder, likeness

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
PICTURES = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), np.uint8)


@pytest.fixture
def dino(tmp_path):
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**SHAPE)).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def clip(tmp_path):
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 6}
    text |= {"bos_token_id": 4, "eos_token_id": 5, "pad_token_id": 5, "intermediate_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=SHAPE, projection_dim=8)).save_pretrained(tmp_path)
    CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    words = ["a", "b", "a</w>", "b</w>", "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")).save_pretrained(tmp_path)
    return tmp_path


def test_pictures_become_the_pooled_output_at_length_one(dino):
    embedder = Embedder(dino, "cpu")
    found = embedder.clip(PICTURES)
    chosen = [PICTURES[i] for i in (0, 3, 5, 8)]
    given = BitImageProcessor.from_pretrained(dino)(images=chosen, return_tensors="pt")
    pooled = Dinov2Model.from_pretrained(dino).eval()(**given).pooler_output
    torch.testing.assert_close(found, torch.nn.functional.normalize(pooled, dim=1).detach())
    assert found.shape == (FRAMES, 16) and not embedder.reads


def test_a_model_that_reads_puts_text_beside_pictures(clip):
    embedder = Embedder(clip, "cpu")
    model, tokens = CLIPModel.from_pretrained(clip).eval(), torch.tensor([[4, 2, 3, 5]])
    given = CLIPImageProcessor.from_pretrained(clip)(images=[PICTURES[0]], return_tensors="pt")
    both = model(input_ids=tokens, pixel_values=given["pixel_values"])
    torch.testing.assert_close(embedder.pictures([PICTURES[0]]), both.image_embeds.detach())
    torch.testing.assert_close(embedder.text("a b"), both.text_embeds[0].detach())


def test_likeness_is_the_mean_of_the_nearest_cosines():
    clip, gallery = torch.eye(3)[:2], torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]])
    assert likeness(clip, gallery, 2) == pytest.approx((1 + 0.6 + 0.8 + 0) / 4)
    assert likeness(clip, gallery[:1], 3) == pytest.approx(0.5)


def test_what_is_no_model_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="name the folder of a vision model"):
        Embedder(tmp_path, "cpu")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PiyingError, match="cannot be read"):
        Embedder(tmp_path, "cpu")
