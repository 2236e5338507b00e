"""Downloads, from a server on this machine that imitates both hubs."""

import json
import resource
import shutil
from collections import namedtuple

import pytest
from hub_server import COMMIT, Server

from piying.errors import PiyingError, UsageError
from piying.files import home
from piying.weights import load, store
from piying.weights.hub import pull, transfer

LARGE = "vae/diffusion_pytorch_model.safetensors"
NAMES = {"huggingface": "zai-org/CogVideoX-2b", "modelscope": "ZhipuAI/CogVideoX-2b"}
Usage = namedtuple("Usage", "total used free")

both = pytest.mark.parametrize("hub", ["huggingface", "modelscope"])


@pytest.fixture
def files(tiny_model_folder):
    """The files of a repository: a model, and what nobody needs."""
    paths = [path for path in tiny_model_folder.rglob("*") if path.is_file()]
    model = {path.relative_to(tiny_model_folder).as_posix(): path.read_bytes() for path in paths}
    return model | {
        "LICENSE": b"do what you like",
        "README.md": "# 模型".encode(),
        ".gitattributes": b"",
        "transformer/diffusion_pytorch_model.fp16.safetensors": b"x",
        "text_encoder/pytorch_model.bin": b"x",
        "assets/video.mp4": b"x",
    }


@pytest.fixture
def serve(files, monkeypatch):
    """A hub with this one repository, to which the environment points."""
    servers = []
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)

    def serve(hub="huggingface"):
        repository = "THUDM/CogVideoX-2b" if hub == "huggingface" else NAMES[hub]
        server = Server(repository, files)
        servers.append(server)
        monkeypatch.setenv("HF_ENDPOINT" if hub == "huggingface" else "MODELSCOPE_DOMAIN", server.address)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch_all(hub="huggingface", name="cogvideox-2b"):
    came = []
    order = pull.order(name, hub)
    here = order.here
    folder = pull.carry_out(order, came.append)
    assert here + sum(came) == order.size
    return folder


@both
def test_a_pulled_model_is_found_loads_and_says_where_it_came_from(serve, files, hub):
    server = serve(hub)
    folder = fetch_all(hub)
    assert store.find("THUDM/CogVideoX-2b") == folder == store.downloads("cogvideox-2b")
    assert load("cogvideox-2b").config.name == "tiny"
    fetched = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    record = json.loads(fetched.pop("pulled.json"))
    unneeded = {".gitattributes", "assets/video.mp4", "text_encoder/pytorch_model.bin"}
    unneeded.add("transformer/diffusion_pytorch_model.fp16.safetensors")
    assert fetched == {name: content for name, content in files.items() if name not in unneeded}
    assert (record["hub_id"], record["licence"]) == (server.repository, "apache-2.0")
    assert record["revision"] == (COMMIT if hub == "huggingface" else "master")
    assert not list(folder.parent.glob(".*"))


@both
def test_a_broken_transfer_goes_on_where_it_stopped(serve, hub):
    server = serve(hub)
    server.breaks[LARGE] = [1000, 500]
    fetch_all(hub)
    assert [r for name, r in server.downloads() if name == LARGE] == [None, "bytes=1000-", "bytes=1500-"]


def test_a_file_of_an_earlier_revision_is_fetched_anew(serve, files):
    serve()
    partial = pull.order("cogvideox-2b", "huggingface").partial
    (partial / LARGE).parent.mkdir(parents=True)
    (partial / LARGE).write_bytes(bytes(len(files[LARGE])))
    folder = pull.carry_out(pull.order("cogvideox-2b", "huggingface"), lambda count: None)
    assert (folder / LARGE).read_bytes() == files[LARGE]


@both
def test_the_next_call_goes_on_where_the_last_one_gave_up(serve, hub):
    server = serve(hub)
    server.breaks[LARGE] = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(PiyingError, match=f"{LARGE}: the server broke off .* the same command goes on") as caught:
        fetch_all(hub)
    assert "\n" not in str(caught.value) and store.known("cogvideox-2b") is None
    server.asked.clear()
    assert pull.order("cogvideox-2b", hub).here > 1000
    fetch_all(hub)
    assert server.downloads()[0] == (LARGE, "bytes=1000-")
    assert "model_index.json" not in dict(server.downloads())


def test_an_empty_file_is_there_at_once(serve, files):
    files["LICENSE"] = b""
    serve()
    assert (fetch_all() / "LICENSE").read_bytes() == b""


def test_a_server_that_cannot_go_on_in_the_middle_begins_anew(serve):
    server = serve()
    server.breaks[LARGE], server.without_range = [1000], True
    fetch_all()


@both
@pytest.mark.parametrize("name", [LARGE, "model_index.json"])
def test_a_wrong_hash_deletes_the_file_and_nothing_takes_its_place(serve, hub, name):
    server = serve(hub)
    server.wrong.add(name)
    with pytest.raises(PiyingError, match=f"{name}: came damaged .* deleted; pull again"):
        fetch_all(hub)
    assert store.known("cogvideox-2b") is None and not list(home().rglob(f"{name.split('/')[-1]}.part"))
    server.wrong.clear()
    fetch_all(hub)


def test_more_than_was_announced_is_refused(serve, files):
    server = serve()
    order = pull.order("cogvideox-2b", "huggingface")
    server.files = files | {LARGE: files[LARGE] + b"more"}
    with pytest.raises(PiyingError, match="sends more than the"):
        pull.carry_out(order, lambda count: None)


@both
def test_a_full_disk_is_said_before_anything_is_fetched(serve, hub, monkeypatch):
    server = serve(hub)
    size = pull.order("cogvideox-2b", hub).size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, size - 1))
    with pytest.raises(PiyingError, match=r"GB are needed in .*, 0\.0 GB are free; make room"):
        pull.order("cogvideox-2b", hub)
    assert server.downloads() == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, size))
    fetch_all(hub)


def test_a_disk_that_fills_up_on_the_way_is_one_line_and_the_next_try_goes_on(serve):
    server = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(PiyingError, match=r"cannot be written .* make room, then pull again") as caught:
            fetch_all()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value) and store.known("cogvideox-2b") is None
    server.asked.clear()
    fetch_all()
    assert "model_index.json" not in dict(server.downloads())


@both
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_means_that_nothing_is_asked(serve, hub, variable, monkeypatch):
    server = serve(hub)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(PiyingError, match=f"{variable}=1: nothing is fetched"):
        pull.order("cogvideox-2b", hub)
    assert server.asked == []


def test_the_hub_is_asked_for_the_model_and_nothing_else(serve):
    server = serve()
    fetch_all()
    paths = [path for path, _ in server.asked if not server.file_of(path)]
    assert paths == ["/api/models/THUDM/CogVideoX-2b?blobs=true"]
    assert not any("torch" in headers.get("user-agent", "") for _, headers in server.asked)


def test_a_token_goes_to_the_hub_and_not_to_where_it_redirects(serve, files, monkeypatch):
    hub, store_of_content = serve(), Server("elsewhere", files)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.token, hub.redirect = "hf_secret", store_of_content.address
    with pytest.raises(PiyingError, match=r"wants a token with access .*HF_TOKEN"):
        fetch_all()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_all()
    assert store_of_content.downloads() and not any("authorization" in headers for _, headers in store_of_content.asked)
    store_of_content.shutdown()
    store_of_content.server_close()


def test_a_server_that_is_busy_for_a_moment_is_asked_again(serve):
    serve().statuses = [503, 429, 500]
    fetch_all()


@pytest.mark.parametrize(("status", "says"), [(403, "accept the licence"), (404, "does not have it"), (410, "refuses")])
def test_a_refusal_is_not_repeated(serve, status, says):
    server = serve()
    order = pull.order("cogvideox-2b", "huggingface")
    server.statuses = [status]
    with pytest.raises(PiyingError, match=says):
        pull.carry_out(order, lambda count: None)
    assert len(server.downloads()) == 1


@both
def test_an_unknown_repository_and_an_unreachable_hub_are_one_line(serve, hub):
    server = serve(hub)
    with pytest.raises(PiyingError, match=r"someone/else: .*does not have it") as caught:
        pull.order("someone/else", hub)
    assert "\n" not in str(caught.value)
    server.shutdown()
    server.server_close()
    with pytest.raises(PiyingError, match="cannot be reached") as caught:
        pull.order("cogvideox-2b", hub)
    assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize(
    ("drop", "says"),
    [
        ("model_index.json", "no model_index.json there"),
        (LARGE, "no safetensors in vae/"),
        ("vae/config.json", "missing"),
    ],
)
def test_a_repository_that_is_no_model_is_refused(serve, files, hub, drop, says):
    server = serve(hub)
    server.files = {name: content for name, content in files.items() if name != drop}
    with pytest.raises(PiyingError, match=says):
        fetch_all(hub)
    assert store.known("cogvideox-2b") is None


@pytest.mark.parametrize(("name", "says"), [("nano", "came with piying"), ("cogvideo", "use a member of the family")])
def test_a_name_that_no_hub_has_is_refused(name, says):
    with pytest.raises(UsageError, match=says):
        pull.order(name, "huggingface")


def test_another_repository_than_the_family_lies_under_its_own_name(serve):
    server = serve()
    server.repository = "someone/fine-tune"
    assert fetch_all(name="someone/fine-tune") == store.find("someone/fine-tune")
    assert store.places()[-1].name == "someone/fine-tune"
