from piying.data import dataset as datasets
from piying.train.tune.rehearsal import member, rehearse
from piying.video import read_frames

SMALL = (32, 48)


def test_every_second_clip_of_several_shows_two_and_captions_name_whoever_is_there(tmp_path):
    rehearse(["dawa", "siwa"], 4, tmp_path / "ds", SMALL)
    drawn = datasets.read(tmp_path / "ds")
    assert all(clip.id.split("-")[0] in clip.names for clip in drawn.clips)
    assert [len(clip.names) for clip in drawn.clips] == [1, 2] * 4
    words = {who: [member(who).token.lower(), *member(who).aliases] for who in ("dawa", "siwa")}
    for clip in drawn.clips:
        assert read_frames(drawn.folder / clip.media).shape == (clip.frames, *SMALL, 3)
        for caption in clip.captions:
            named = {who for who, said in words.items() if any(word.lower() in caption.lower() for word in said)}
            assert named == set(clip.names), caption


def test_one_alone_is_drawn_alone(tmp_path):
    rehearse(["dawa"], 3, tmp_path / "ds", SMALL)
    assert [clip.names for clip in datasets.read(tmp_path / "ds").clips] == [("dawa",)] * 3
