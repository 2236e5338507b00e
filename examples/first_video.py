import piying

model = piying.load("nano")
video = model.generate("A red paper boat sails on the sea", seed=7)
video.save("boat.mp4")
