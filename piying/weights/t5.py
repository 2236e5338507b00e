"""The names of the text encoder in published files: those of transformers' T5EncoderModel."""

from piying.config import TextConfig
from piying.weights.safe import Stored

_TIED = "encoder.embed_tokens.weight"  # a second name of the embedding
_BLOCK = {
    "norm1": "0.layer_norm",
    "attention.q": "0.SelfAttention.q",
    "attention.k": "0.SelfAttention.k",
    "attention.v": "0.SelfAttention.v",
    "attention.out": "0.SelfAttention.o",
    "norm2": "1.layer_norm",
    "ff.gate": "1.DenseReluDense.wi_0",
    "ff.value": "1.DenseReluDense.wi_1",
    "ff.out": "1.DenseReluDense.wo",
}


def names(config: TextConfig, *, scales: bool = False) -> dict[str, str]:
    """Our parameter names of the text encoder -> those of transformers' T5EncoderModel. Scales of quantised weights,
    where wanted, have ours beside the weights."""
    names = {
        "embedding.weight": "shared.weight",
        "distances.weight": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "norm.weight": "encoder.final_layer_norm.weight",
    }
    for index in range(config.layers):
        names |= {
            f"blocks.{index}.{ours}.{kind}": f"encoder.block.{index}.layer.{theirs}.{kind}"
            for ours, theirs in _BLOCK.items()
            for kind in (("weight", "weight_scale") if scales and not ours.startswith("norm") else ("weight",))
        }
    return names


def untie(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """Tensors of a T5 with its embedding under one name, and without the decoder that whole T5 files have."""
    encoder = {
        name: stored
        for name, stored in tensors.items()
        if not name.startswith(("decoder.", "lm_head.")) and name != _TIED
    }
    if _TIED in tensors:
        encoder.setdefault("shared.weight", tensors[_TIED])
    return encoder
