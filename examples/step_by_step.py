"""The same video step by step: the caller owns progress and previews, and may stop at any step."""

from PIL import Image

import piying

model = piying.load("nano")
request = piying.Request(prompt="一只黄色的鸟向右飞", seed=3, steps=12)

for progress in model.stream(request):
    print(f"step {progress.step} of {progress.steps}")
    Image.fromarray(progress.preview()).save("preview.png")

(video,) = progress.videos()
print(video.frames.shape, video.timings)  # uint8 [F H W 3]; seconds of each part
video.save("bird.mp4")
