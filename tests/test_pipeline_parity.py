"""Whole videos against the pipelines of diffusers: the same folder, prompt and seed, every draw of noise included."""

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXImageToVideoPipeline, CogVideoXPipeline
from PIL import Image
from toys import SIZE, toy_checkpoint

from piying import weights
from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V
from piying.generate import load

MEMBERS = (COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V)
SCHEDULERS = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}
PROMPT, NEGATIVE = "a red boat", "fog"


@pytest.fixture(scope="module", params=MEMBERS, ids=lambda member: member.name)
def folder(request, tmp_path_factory):
    """A small member of the family with random weights, in the layout of diffusers."""
    path = tmp_path_factory.mktemp(request.param.name) / "model"
    weights.save(toy_checkpoint(request.param), path, torch.float32)
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "image.png"
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((96, 64)).save(path)  # twice the size of the video
    return path


@pytest.mark.parametrize(("sampler", "curve", "steps"), [("ddim", "constant", 4), ("dpm", "published", 7)])
def test_the_pipelines_of_diffusers_make_the_same_video(folder, image, sampler, curve, steps):
    model = load(folder, device="cpu")
    config = model.checkpoint.config
    starts_from_image = "image" in config.tasks
    kind = CogVideoXImageToVideoPipeline if starts_from_image else CogVideoXPipeline
    pipeline = kind.from_pretrained(folder)
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=SIZE[0],
        width=SIZE[1],
        num_frames=config.frames,
        num_inference_steps=steps,
        guidance_scale=3.0,
        use_dynamic_cfg=curve == "published",
        max_sequence_length=config.transformer.text_tokens,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
        **({"image": Image.open(image)} if starts_from_image else {}),
    ).frames
    expected = expected[:, expected.shape[1] - ((config.frames - 1) // 4 + 1) :]  # as the pipeline cuts before decoding

    seen = []
    video = model.generate(
        PROMPT,
        negative=NEGATIVE,
        image=image if starts_from_image else None,
        seed=5,
        steps=steps,
        guidance=3.0,
        guidance_curve=curve,
        sampler=sampler,
        on_step=seen.append,
    )
    latents = seen[-1].latents
    assert latents.shape == expected.shape
    assert float((latents - expected).norm() / expected.norm()) < 1e-4
    with torch.no_grad():
        decoded = pipeline.video_processor.postprocess_video(pipeline.decode_latents(expected), output_type="np")[0]
    assert np.abs(video.frames / 255 - decoded).max() < 0.5 / 255 + 1e-4
