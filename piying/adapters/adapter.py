"""An adapter as data: low-rank changes of layers, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """The change of one linear layer, W' = W + alpha/r B A (arXiv:2106.09685, equation 3).

    With a magnitude m it is DoRA, W' = m (W + alpha/r B A) / |W + alpha/r B A|, the norm taken over each row
    (arXiv:2402.09353, equation 5). Of a layer that is a convolution over patches the two hold two dimensions more.
    """

    down: Tensor  # A [r in]
    up: Tensor  # B [out r]
    alpha: float
    magnitude: Tensor | None = None  # m [out]

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class Adapter:
    """Layers by the names of our modules, and what the file tells of itself."""

    layers: Mapping[str, Layer]
    base: str | None = None  # the model it was trained for
    base_sha256: str | None = None  # see `fingerprint`
    triggers: tuple[str, ...] = ()  # words that call up what was learned
    aliases: Mapping[str, str] = field(default_factory=dict)  # what a person may write -> what the model learned
    only_named: bool = False  # it was taught to leave the base alone where no trigger is said, so there it is left out
    assumed: str | None = None  # what was taken for alpha where the file does not say it

    @property
    def kind(self) -> str:
        return "DoRA" if any(layer.magnitude is not None for layer in self.layers.values()) else "LoRA"

    @property
    def ranks(self) -> list[int]:
        return sorted({layer.rank for layer in self.layers.values()})

    @property
    def alphas(self) -> list[float]:
        return sorted({layer.alpha for layer in self.layers.values()})

    def nbytes(self, itemsize: int) -> int:
        """What it takes on a card, its matrices in a type of so many bytes; magnitudes and gains are float32."""
        layers = self.layers.values()
        matrices = sum(layer.down.numel() + layer.up.numel() for layer in layers)
        return itemsize * matrices + 8 * sum(0 if (m := layer.magnitude) is None else m.numel() for layer in layers)

    @property
    def blocks(self) -> int:
        """How many transformer blocks there are at least."""
        numbers = [int(name.split(".")[1]) for name in self.layers if name.startswith("transformer_blocks.")]
        return max(numbers, default=-1) + 1

    @property
    def width(self) -> int | None:
        """Of the model it was made for, where a layer shows it."""
        for name, layer in self.layers.items():
            if ".attn1." in name:
                return layer.down.shape[1]
        return None
