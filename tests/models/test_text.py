"""The text encoder against transformers, and the tokenizer against its own library."""

import pytest
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer as Pieces
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from piying.config import TextConfig
from piying.errors import ModelMissing, PiyingError
from piying.models.text import TextEncoder, Tokenizer
from piying.weights import t5
from piying.weights.part_json import text_json

TOY = TextConfig(vocabulary=50, width=24, layers=3, heads=2, head_width=8, ff_width=40)


def pair(dtype=torch.float32):
    torch.manual_seed(0)
    theirs = T5EncoderModel(T5Config(**text_json(TOY))).to(dtype).eval()
    ours = TextEncoder(TOY).to(dtype)
    values = theirs.state_dict()
    ours.load_state_dict({name: values[published] for name, published in t5.names(TOY).items()}, strict=True)
    return theirs, ours


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@torch.no_grad()
def test_the_states_are_those_of_transformers(dtype, bound):
    theirs, ours = pair(dtype)
    tokens = torch.randint(0, 50, (2, 226))  # long enough for every bucket of distance
    expected = theirs(tokens).last_hidden_state.float()
    assert ((ours(tokens).float() - expected).norm() / expected.norm()).item() < bound


@torch.no_grad()
def test_half_precision_survives_values_that_overflow_it():
    _, ours = pair()
    for block in ours.blocks:
        block.ff.value.weight *= 400
        block.ff.out.weight *= 400
    exact = ours(torch.arange(20)[None])
    ours.half()
    for block in ours.blocks:
        block.ff.out.float()
    assert torch.allclose(ours(torch.arange(20)[None]).float(), exact, atol=0.02)


def test_gradients_reach_every_weight():
    _, ours = pair()
    ours(torch.arange(50)[None]).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in ours.parameters())


def pieces():
    words = ["<pad>", "</s>", "<unk>", "a", "red", "boat", "红", "船"]
    inner = Pieces(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return inner


def test_texts_are_closed_padded_and_cut(tmp_path):
    pieces().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.read(tmp_path)
    assert tokenizer(["a red boat", "", "红 船 x a red"], 5).tolist() == [
        [3, 4, 5, 1, 0],
        [1, 0, 0, 0, 0],
        [6, 7, 2, 3, 1],
    ]


def test_the_files_of_a_tokenizer_give_transformers_the_same_numbers(tmp_path):
    tokenizer = Tokenizer.from_json(pieces().to_str())
    for name, content in tokenizer.files.items():
        (tmp_path / name).write_bytes(content)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    texts = ["a red boat", "", "红 船 x a red"]
    expected = theirs(texts, padding="max_length", max_length=5, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(tokenizer(texts, 5), expected)


def test_a_published_folder_with_sentence_pieces_is_read(tmp_path):
    with (tmp_path / "spiece.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(["a red boat sails left", "a blue fish sinks", "the boat sails"] * 9),
            model_writer=file,
            vocab_size=22,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    pieces = SentencePieceProcessor(str(tmp_path / "spiece.model"))
    numbers = Tokenizer.read(tmp_path)(["the red fish sails", "红"], 30).tolist()
    assert pieces.decode(numbers[0]).strip() == "the red fish sails"
    assert numbers[0][numbers[0].index(1) :] == [1] + [0] * (29 - numbers[0].index(1))
    assert 2 in numbers[1]


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelMissing, match=r"no tokenizer\.json and no spiece\.model"):
        Tokenizer.read(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
def test_a_broken_tokenizer_is_one_clear_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff broken")
    with pytest.raises(PiyingError, match=f"{name}: not a tokenizer") as caught:
        Tokenizer.read(tmp_path)
    assert "\n" not in str(caught.value)
