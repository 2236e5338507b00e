"""A picture becomes the first frame: here the theatre draws it, in practice it is your own."""

from PIL import Image

import piying
from piying.theatre import Actor, Scene, render

scene = Scene(actors=(Actor(subject="horse", colour="white", motion="left"),), backdrop="snowfield", seed=1)
first = render([scene], frames=1).frames[0, 0]  # uint8 [H W 3]
Image.fromarray(first.numpy()).save("first.png")

video = piying.load("nano").generate("A white horse gallops to the left", image="first.png", seed=1)
video.save("horse.mp4")
