"""A vision model in a folder, against transformers' own pipeline."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    pipeline,
)

from piying.errors import PiyingError
from piying.prompts import local as module
from piying.prompts.local import local

TEMPLATE = (
    "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<image> "
    "{% else %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}fog {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from toys import tokenizer

    folder = tmp_path_factory.mktemp("sight")
    for name, content in tokenizer().files.items():
        (folder / name).write_bytes(content)
    own = PreTrainedTokenizerFast.from_pretrained(folder)
    own.add_tokens(["<image>"], special_tokens=True)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=own,
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=16, patch_size=8, initializer_range=1.0),
        text_config=LlamaConfig(**sizes, vocab_size=len(own), eos_token_id=1, pad_token_id=0, initializer_range=1.0),
        image_token_id=own.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def shown(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"},
    }


def test_the_answer_is_what_transformers_writes_of_the_same_pictures(folder, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST", 8)
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)) for _ in range(4)]
    write, ask, answers = pipeline("image-text-to-text", model=str(folder)), local(folder, sees=True), set()
    for first, second in (pictures[:2], pictures[2:]):
        words = {"type": "text", "text": "a red boat"}
        told = [{"role": "user", "content": [words, *({"type": "image", "image": one} for one in (first, second))]}]
        expected = write(text=told, max_new_tokens=8, do_sample=False, return_full_text=False)[0]["generated_text"]
        answer = ask([{"role": "user", "content": [words, shown(first), shown(second)]}])
        assert answer.split() == expected.split() and answer
        answers.add(answer)
    assert len(answers) == 2


def test_a_model_that_cannot_see_is_told_by_what_it_was_given_as(folder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(PiyingError, match=rf"captioner={tmp_path}: cannot be read") as told:
        local(tmp_path, sees=True, option="captioner")
    assert "\n" not in str(told.value)
