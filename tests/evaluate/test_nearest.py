import torch

from piying.evaluate.nearest import nearest
from piying.theatre.scene import Actor, Scene
from piying.theatre.stage import render


def test_a_copy_finds_its_original():
    scenes = [
        Scene(actors=(Actor(subject="cat", colour="red", motion="left"),), backdrop=place)
        for place in ("sea", "forest", "room")
    ]
    clips = render([scenes[2], scenes[1]], frames=9).frames
    found, distances = nearest((clips.float() + 4).clamp(0, 255).to(torch.uint8), scenes)
    assert found.tolist() == [2, 1]
    assert distances.max() < 0.04
