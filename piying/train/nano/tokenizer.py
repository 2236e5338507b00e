"""nano's tokenizer: a unigram model (arXiv:1804.10959) of the theatre's captions in both languages.

T5's numbers: <pad> 0, </s> 1, <unk> 2. Text is folded first (NFKC, lower case, single spaces). A piece is a whole word,
one mark, or one Chinese character: 红船 and 紫船 differ in 红 and 紫 alone, whichever of them was ever seen. What was
never seen is spelled in letters or else in bytes, so that no text has an unknown token.
"""

import math
import random
import string
from collections import Counter
from collections.abc import Iterator, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from piying.theatre import casting
from piying.theatre.captions import Language, caption, words
from piying.theatre.scene import STYLES, SUBJECTS, TROUPE, UNSEEN_STYLES, Style, Subject, Troupe, UnseenStyle

SPECIAL = ["<pad>", "</s>", "<unk>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = ["▁", *string.ascii_lowercase, *string.digits, "'", "-"]
CAPTIONS = 3_000  # of each language

_FOLD = normalizers.Sequence(
    [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
)
_CUT = pre_tokenizers.Sequence(
    [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(Regex(r"\p{Han}|[^\w\s'-]"), "isolated"),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
    ]
)


def train_tokenizer(seed: int) -> str:
    """The content of a tokenizer.json. The troupe counts too, so that their names are pieces when they are taught."""
    counts = Counter(LETTERS)
    for text in _texts(random.Random(seed), (*SUBJECTS, *TROUPE), (*STYLES, *UNSEEN_STYLES)):
        counts.update(piece for piece, _ in _CUT.pre_tokenize_str(_FOLD.normalize_str(text)))
    return _unigram(counts).to_str(pretty=True)


def unheard(vocabulary: str) -> list[int]:
    """The tokens that no caption has which nano is trained on: names and styles to be taught, letters, bytes."""
    tokenizer = Tokenizer.from_str(vocabulary)
    heard = {token for text in _texts(random.Random(0), SUBJECTS, STYLES) for token in tokenizer.encode(text).ids}
    return [token for token in range(len(SPECIAL), tokenizer.get_vocab_size()) if token not in heard]


def _texts(
    rng: random.Random, cast: Sequence[Subject | Troupe], styles: Sequence[Style | UnseenStyle]
) -> Iterator[str]:
    """All words once, and captions."""
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        yield " ".join(words()[language])
        for _ in range(CAPTIONS):
            yield caption(casting.draw(rng, "any", cast=cast, styles=styles), language, rng).text


def _unigram(counts: Counter[str]) -> Tokenizer:
    """Each piece by its share; with whole words as pieces, this is where expectation maximisation ends."""
    total = counts.total()
    pieces = sorted(counts, key=lambda piece: (-counts[piece], piece))
    vocabulary = [(token, 0.0) for token in SPECIAL + BYTES]
    vocabulary += [(piece, math.log(counts[piece] / total)) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=True))
    tokenizer.normalizer = _FOLD
    tokenizer.pre_tokenizer = _CUT
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer
