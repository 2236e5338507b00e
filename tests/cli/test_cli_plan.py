"""`piying plan`: what would live where, for models that need not be here."""

import pytest


def test_a_plan_is_a_table_of_parts_and_stages(piying):
    result = piying("plan", "--model", "cogvideox-2b", "--memory", "12GB")
    assert result.code == 0
    assert result.out.startswith("cogvideox-2b, 49 frames of 480x720, 50 steps, 11.2 GiB\n")
    for word in ("text encoder", "transformer", "autoencoder", "text ", "denoise", "decode", "The card shows"):
        assert word in result.out


def test_a_plan_in_json_is_one_object(piying):
    plan = piying("plan", "--model", "THUDM/CogVideoX-5b", "--memory", "24GB", "--frames", "25", "--json").json
    assert (plan["model"], plan["frames"], plan["size"]) == ("cogvideox-5b", 25, [480, 720])
    assert plan["memory"] == 24 * 10**9 and plan["taken"] <= plan["memory"]
    assert len(plan["stages"]) == 3


def test_a_model_in_a_folder_is_planned_by_its_own_configuration(piying, tiny_model_folder):
    result = piying("plan", "--model", tiny_model_folder, "--memory", "2GB")
    assert result.out.startswith("tiny, 9 frames of 32x48, 2 steps, 1.9 GiB\n")


REFUSED = [  # arguments, what the line must say, exit code
    (["--memory", "8"], "memory=8: write a size with its unit", 2),
    ([], "memory=auto: there is no GPU here to ask; say how much a card has", 2),
    (["--model", "what", "--memory", "8GB"], "known are", 3),
    (["--model", "cogvideox-2b", "--memory", "8GB", "--frames", "0"], "frames=0: use 8n+1, e.g. 9", 2),
    (["--model", "cogvideox-2b", "--memory", "8GB", "--steps", "0"], "steps=0: use 1 to 1000", 2),
    (["--model", "cogvideox-2b", "--memory", "8GB", "--frames", "50"], "frames=50: use 8n+1, e.g. 49", 2),
    (["--model", "cogvideox-2b", "--memory", "8GB", "--size", "481x720"], "size=481x720: use multiples of 16", 2),
    (["--model", "cogvideox-5b", "--memory", "1GB"], "memory=954 MiB: 49 frames of 480x720 with cogvideox-5b take", 4),
]


@pytest.mark.parametrize(("arguments", "says", "code"), REFUSED)
def test_what_cannot_be_planned_is_told_in_a_line(piying, monkeypatch, arguments, says, code):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = piying("plan", *arguments)
    assert (result.code, result.out) == (code, "") and says in result.err and result.err.count("\n") == 1


def test_a_budget_is_refused_where_there_is_no_gpu(piying, monkeypatch, tiny_model_folder):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = piying("generate", "a red boat", "--model", tiny_model_folder, "--memory", "8GB")
    assert result.code == 2 and "memory=8GB: is about an NVIDIA GPU" in result.err
    assert piying("generate", "a red boat", "--model", tiny_model_folder, "--memory", "much").code == 2


def test_memory_is_no_part_of_what_a_video_tells_of_itself(piying, tiny_model_folder):
    result = piying("generate", "a red boat", "--model", tiny_model_folder, "--memory", "auto", "--json")
    assert "memory" not in result.json["request"]
    assert piying("replay", "a-red-boat.mp4", "--json").json["same"]
