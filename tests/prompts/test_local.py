"""A chat model in a folder, against transformers' own pipeline."""

import sys

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    pipeline,
)

from piying.errors import PiyingError, UsageError
from piying.prompts import local as module
from piying.prompts.local import local

CHAT = [{"role": "system", "content": "a"}, {"role": "user", "content": "red boat"}]
TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}fog {% endif %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from toys import tokenizer

    folder = tmp_path_factory.mktemp("chat")
    for name, content in tokenizer().files.items():
        (folder / name).write_bytes(content)
    own = PreTrainedTokenizerFast.from_pretrained(folder)
    own.chat_template = TEMPLATE
    own.save_pretrained(folder)
    torch.manual_seed(22)
    config = LlamaConfig(
        vocab_size=7,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=1.0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_the_answer_is_what_transformers_writes(folder, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST", 12)
    write = pipeline(
        "text-generation",
        model=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )
    expected = write(CHAT, max_new_tokens=12, do_sample=False)[0]["generated_text"][-1]["content"]
    answer = local(folder)(CHAT)
    assert answer == expected and len(answer.split()) > 1


def test_a_folder_that_is_none_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"no config\.json there"):
        local(tmp_path)


@pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "llama"}'])
def test_a_broken_folder_is_one_line(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(PiyingError, match="cannot be read") as caught:
        local(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_transformers_the_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PiyingError, match=r"needs transformers, pip install 'piying\[enhance\]'"):
        local(folder)


def test_a_model_that_was_not_made_for_chats_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(PiyingError, match="has no chat template"):
        local(tmp_path)
