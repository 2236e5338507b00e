"""Weights to start a training from, the same for the same seed on any machine.

The transformer starts as DiT does (arXiv:2212.09748, section 3.2): every gate is zero, so each block passes its input
on, and the predicted v is zero.
"""

import torch
from torch import nn

from piying.config import TextConfig, TransformerConfig, VAEConfig
from piying.models.text import TextEncoder
from piying.models.transformer import AdaptiveNorm, FinalNorm, Transformer
from piying.models.vae import VAE
from piying.models.vae_parts import LatentNorm, ResidualBlock

_HIDDEN = 6.0  # off the logits of tokens that a head starts without seeing


@torch.no_grad()
def transformer(config: TransformerConfig, seed: int) -> Transformer:
    model, dice = Transformer(config), torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight.flatten(1), generator=dice)
            _zero(module.bias)
    for layer in (model.time_embedding.linear_1, model.time_embedding.linear_2):
        nn.init.normal_(layer.weight, std=0.02, generator=dice)
    for module in model.modules():
        if isinstance(module, AdaptiveNorm | FinalNorm):
            _zero(module.linear.weight)
    _zero(model.proj_out.weight)
    if config.positions == "rope+learned":
        _zero(model.patch_embed.pos_embedding)
    return model


@torch.no_grad()
def vae(config: VAEConfig, seed: int) -> VAE:
    """Convolutions keep the variance of what they see, and residual blocks pass it on (arXiv:1901.09321, section 3), so
    that training begins with a nearly linear autoencoder. The conditioned norms start as plain group norms."""
    model, dice = VAE(config), torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=dice)
            _zero(module.bias)
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            _zero(module.conv2.conv.weight)
        if isinstance(module, LatentNorm):
            _zero(module.conv_b.conv.weight)
            scale = module.conv_y.conv
            _zero(scale.weight)
            nn.init.constant_(scale.get_parameter("bias"), 1.0)
    return model


@torch.no_grad()
def text(config: TextConfig, seed: int) -> TextEncoder:
    """As the authors of T5 start: by fan-in, and q smaller by the width of a head, since logits are not scaled.

    But heads look back, ahead and at the token before, in turn: from distances near zero a short training learns words
    and not their order, and "from left to right" is "from right to left".
    """
    model, dice = TextEncoder(config), torch.Generator().manual_seed(seed)
    nn.init.normal_(model.embedding.weight, generator=dice)
    nn.init.normal_(model.distances.weight, std=config.width**-0.5, generator=dice)
    half = config.buckets // 2  # of the buckets, for what comes later; the first of each half are single distances
    for head in range(config.heads):
        hidden = torch.ones(config.buckets, dtype=torch.bool)
        hidden[(slice(None, half), slice(half, None), 1)[head % 3]] = False
        hidden[0] &= head % 3 == 2
        model.distances.weight[hidden, head] -= _HIDDEN
    for name, parameter in model.blocks.named_parameters():
        if "norm" not in name:
            fan_in = parameter.shape[1] * (config.head_width if name.endswith("attention.q.weight") else 1)
            nn.init.normal_(parameter, std=fan_in**-0.5, generator=dice)
    return model


def _zero(parameter: torch.Tensor | None) -> None:
    if parameter is not None:
        nn.init.zeros_(parameter)
