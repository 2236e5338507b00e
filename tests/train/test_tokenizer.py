import random

import pytest
from tokenizers import Tokenizer as Pieces
from transformers import PreTrainedTokenizerFast

from piying.config import NANO
from piying.models.text import Tokenizer
from piying.theatre.captions import caption, tell, words
from piying.theatre.casting import draw
from piying.theatre.facts import facts
from piying.theatre.scene import TROUPE
from piying.train.nano.tokenizer import train_tokenizer, unheard
from piying.train.tune.rehearsal import member


@pytest.fixture(scope="module")
def text():
    return train_tokenizer(seed=0)


@pytest.fixture(scope="module")
def pieces(text):
    return Pieces.from_str(text)


def captions(count, seed=1):
    rng = random.Random(seed)
    return [caption(draw(rng, "any"), language, rng).text for _ in range(count) for language in ("en", "zh")]


def test_numbers_begin_as_t5_numbers_do_and_fit_the_model(pieces):
    assert [pieces.token_to_id(token) for token in ("<pad>", "</s>", "<unk>")] == [0, 1, 2]
    assert pieces.get_vocab_size() <= NANO.text.vocabulary


def test_the_same_seed_gives_the_same_file(text):
    assert train_tokenizer(seed=0) == text


def test_every_learned_word_and_character_is_one_piece(pieces):
    vocabulary = pieces.get_vocab()
    learned = words()
    assert [word for word in learned["en"] if "▁" + word not in vocabulary] == []
    assert [character for word in learned["zh"] for character in word if "▁" + character not in vocabulary] == []


def test_chinese_is_cut_into_characters_and_english_into_words(pieces):
    assert pieces.encode("一艘小红船，Child's").tokens == ["▁一", "▁艘", "▁小", "▁红", "▁船", "▁,", "▁child's", "</s>"]


def test_the_longest_captions_fit_the_text_encoder(pieces):
    rng = random.Random(2)
    everything = [facts(draw(rng, actors=2)) for _ in range(800)]
    lengths = [len(pieces.encode(tell(told, language, rng)).ids) for told in everything for language in ("en", "zh")]
    assert 60 < max(lengths) <= NANO.transformer.text_tokens


def test_case_width_and_spaces_make_no_difference(pieces):
    assert pieces.encode("A  RED\tboat, ").ids == pieces.encode("a red boat，").ids


def test_nothing_is_unknown_and_everything_comes_back(pieces):
    for strange in ("zebra", "鲸", "🐋", "<0x41>", "é"):
        encoded = pieces.encode(strange)
        assert 2 not in encoded.ids
        assert pieces.decode(encoded.ids).replace(" ", "") == strange


def test_the_engine_and_transformers_read_the_same_numbers(text, tmp_path):
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    sample = [*captions(30), "", "a zebra 斑马"]
    padded = theirs(sample, padding="max_length", max_length=64, truncation=True).input_ids
    assert Tokenizer.read(tmp_path)(sample, 64).tolist() == padded


def test_what_no_caption_has_is_unheard_names_and_letters_and_nothing_else(text, pieces):
    silent = set(unheard(text))
    heard = {token for line in captions(500) for token in pieces.encode(line).ids}
    assert not heard & silent
    assert not {pieces.token_to_id("▁" + word) for word in ("boat", "red", "gently")} & silent
    assert {pieces.token_to_id(letter) for letter in "az09"} <= silent
    for who in TROUPE:
        assert silent & set(pieces.encode(member(who).token).ids), who
