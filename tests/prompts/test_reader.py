"""What is cut and what cannot be read, on a T5-like vocabulary of whole words and on nano's own."""

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from toys import tokenizer

from piying.models.text import Tokenizer
from piying.prompts.reader import Reader, fitting, read
from piying.weights import glance

TOY = Reader("toy", tokenizer().encode, 8)  # a token for each of WORDS


@pytest.fixture(scope="module")
def nano():
    config, words, own = glance("nano")
    return Reader("nano", own.encode, config.transformer.text_tokens, words)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A SentencePiece vocabulary in which words fall into several pieces, and Chinese into none."""
    folder = tmp_path_factory.mktemp("pieces")
    with (folder / "spiece.model").open("wb") as file:
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
    return Reader("pieces", Tokenizer.read(folder).encode, 12), SentencePieceProcessor(str(folder / "spiece.model"))


def test_a_prompt_that_fits_is_read_whole():
    reading = read("a red boat", TOY)
    assert (reading.tokens, reading.limit, reading.cut) == (4, 8, "")
    assert read(" ".join(["red"] * 7), TOY).cut == ""  # and the end mark: 8


def test_the_words_that_are_cut_are_named():
    assert read("fog " * 7 + "boat", TOY).cut == "boat"
    reading = read("a red boat a red boat fog a red fog", TOY)
    assert (reading.tokens, reading.cut) == (11, "a red fog")


def test_a_word_that_is_read_in_half_is_lost(pieces):
    reader, library = pieces
    prompt = "a red fish sinks left the boat"
    cut = read(prompt, reader).cut
    kept = prompt[: fitting(prompt, reader)]
    assert f"{kept} {cut}" == prompt
    # What the model is given decodes to the kept words, and at most the beginning of the next one.
    seen = library.decode(library.encode(prompt)[: reader.limit - 1]).strip()
    assert seen.startswith(kept) and len(seen) < len(f"{kept} {cut.split()[0]}")


def test_chinese_is_cut_between_characters(nano):
    prompt = "一艘红色的小船在海上" * 8
    reading = read(prompt, nano)
    assert reading.tokens == 81 and reading.limit == 64
    assert reading.cut == prompt[63:]


def test_a_vocabulary_without_chinese_names_the_characters(pieces):
    reading = read("a 红色 boat, 大娃 and 红色 ☃ fish", pieces[0])
    # apart from the comma and the letters that this small vocabulary lacks
    assert [part for part in reading.unreadable if part not in ",nd"] == ["红色", "大娃", "☃"]
    assert reading.needs_translation
    assert not read("a red ☃", pieces[0]).needs_translation
    assert 2 in TOY.encode("a  red") and read("a  red", TOY).unreadable == ()  # white space is nothing to read


def test_nano_reads_every_character_and_knows_its_words(nano):
    reading = read("a red ☃ 龟 tractor", nano)
    assert reading.unreadable == ()
    assert reading.unlearned == ("龟", "tractor")
    assert read("a red tractor", TOY).unlearned == ()


def test_of_a_small_world_the_words_count():
    reading = read("船", Reader("tiny", TOY.encode, 8, {"en": [], "zh": ["船"]}))
    assert (reading.unreadable, reading.unlearned, reading.needs_translation) == ((), (), False)
