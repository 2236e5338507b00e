"""Checkpoints as SAT writes them, made from models of diffusers: the way back, written from SAT's own module names."""

import torch
from diffusers.models.embeddings import get_3d_sincos_pos_embed

Tensors = dict[str, torch.Tensor]


def transformer(theirs: Tensors, config) -> Tensors:
    """A state of CogVideoXTransformer3DModel -> dit_video_concat.DiffusionTransformer, without a prefix."""
    sat = {}
    for kind in ("weight", "bias"):
        for mine, other in (
            ("transformer.final_layernorm", "norm_final"),
            ("mixins.final_layer.norm_final", "norm_out.norm"),
            ("mixins.final_layer.linear", "proj_out"),
            ("mixins.final_layer.adaLN_modulation.1", "norm_out.linear"),
            ("mixins.patch_embed.proj", "patch_embed.proj"),
            ("mixins.patch_embed.text_proj", "patch_embed.text_proj"),
            ("time_embed.0", "time_embedding.linear_1"),
            ("time_embed.2", "time_embedding.linear_2"),
            ("ofs_embed.0", "ofs_embedding.linear_1"),
            ("ofs_embed.2", "ofs_embedding.linear_2"),
        ):
            if f"{other}.{kind}" in theirs:
                sat[f"{mine}.{kind}"] = theirs[f"{other}.{kind}"]
        for i in range(config.layers):
            block, layer, mixin = f"transformer_blocks.{i}", f"transformer.layers.{i}", "mixins.adaln_layer"
            sat[f"{layer}.attention.query_key_value.{kind}"] = torch.cat(
                [theirs[f"{block}.attn1.to_{part}.{kind}"] for part in ("q", "k", "v")]
            )
            # SAT: video attention, video feed-forward, text attention, text feed-forward, each shift, scale, gate
            attention, forward = (theirs[f"{block}.{norm}.linear.{kind}"].chunk(2) for norm in ("norm1", "norm2"))
            sat[f"{mixin}.adaLN_modulations.{i}.1.{kind}"] = torch.cat(
                [attention[0], forward[0], attention[1], forward[1]]
            )
            sat[f"{mixin}.query_layernorm_list.{i}.{kind}"] = theirs[f"{block}.attn1.norm_q.{kind}"]
            sat[f"{mixin}.key_layernorm_list.{i}.{kind}"] = theirs[f"{block}.attn1.norm_k.{kind}"]
            sat[f"{layer}.attention.dense.{kind}"] = theirs[f"{block}.attn1.to_out.0.{kind}"]
            sat[f"{layer}.mlp.dense_h_to_4h.{kind}"] = theirs[f"{block}.ff.net.0.proj.{kind}"]
            sat[f"{layer}.mlp.dense_4h_to_h.{kind}"] = theirs[f"{block}.ff.net.2.{kind}"]
            sat[f"{layer}.input_layernorm.{kind}"] = theirs[f"{block}.norm1.norm.{kind}"]
            sat[f"{layer}.post_attention_layernorm.{kind}"] = theirs[f"{block}.norm2.norm.{kind}"]
    if config.positions == "rope+learned":
        sat["mixins.pos_embed.pos_embedding"] = theirs["patch_embed.pos_embedding"]
    elif config.positions == "rope":
        sat["mixins.pos_embed.freqs_sin"] = sat["mixins.pos_embed.freqs_cos"] = torch.zeros(3)
        sat["transformer.position_embeddings.weight"] = torch.zeros(4, 3)
    else:
        sat["mixins.pos_embed.pos_embedding"] = sines(config)
    return sat


def sines(config) -> torch.Tensor:
    """The table that SAT's 2B stores [1 L+T D]; its rows of text are zero."""
    frames, height, width = config.trained_grid
    table = get_3d_sincos_pos_embed(
        config.width, (width, height), frames, config.sincos_scale[1], config.sincos_scale[0], output_type="pt"
    )
    return torch.cat([torch.zeros(1, config.text_tokens, config.width), table.flatten(0, 1)[None].float()], dim=1)


def vae(theirs: Tensors, blocks: int) -> Tensors:
    """A state of AutoencoderKLCogVideoX -> sgm's encoder and decoder, with a tensor of the training loss beside."""
    sat = {"loss.discriminator.weight": torch.zeros(2)}
    homes = {}
    for side in ("encoder", "decoder"):
        homes |= {f"{side}.{name}": f"{side}.{name}" for name in ("conv_in", "conv_out", "norm_out")}
        homes |= {f"{side}.mid_block.resnets.{i}": f"{side}.mid.block_{i + 1}" for i in (0, 1)}
    for level in range(4):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{3 - level}"
        homes |= {f"{down}.resnets.{i}": f"encoder.down.{level}.block.{i}" for i in range(blocks)}
        homes |= {f"{up}.resnets.{i}": f"decoder.up.{level}.block.{i}" for i in range(blocks + 1)}
        homes |= {f"{down}.downsamplers.0": f"encoder.down.{level}.downsample"}
        homes |= {f"{up}.upsamplers.0": f"decoder.up.{level}.upsample"}
    for name, tensor in theirs.items():
        home = next(home for home in homes if name.startswith(f"{home}."))
        rest = name.removeprefix(f"{home}.").replace("conv_shortcut", "nin_shortcut")
        sat[f"{homes[home]}.{rest}"] = tensor
    return sat
