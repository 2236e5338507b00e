"""An endpoint on this machine that answers well, badly, late or not at all."""

import pytest
from chat_server import completion

from piying.errors import PiyingError, UsageError
from piying.prompts.endpoint import endpoint

CHAT = [{"role": "user", "content": "一艘红船"}]


def test_an_answer_comes_back_and_the_question_is_as_the_format_says(server):
    server.body = completion("A red boat.")
    assert endpoint(server.address, "writer", "secret")(CHAT) == "A red boat."
    ((path, headers, body),) = server.received
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret" and headers["Content-Type"] == "application/json"
    assert body == {"model": "writer", "messages": CHAT, "stream": False}


def test_without_a_key_none_is_sent_and_the_whole_address_serves_too(server):
    server.body = completion("A red boat.")
    endpoint(server.address + "/chat/completions/", "writer")(CHAT)
    ((path, headers, _),) = server.received
    assert path == "/v1/chat/completions" and "Authorization" not in headers


def test_what_stays_on_this_machine_passes_no_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    server.body = completion("A red boat.")
    assert endpoint(server.address, "writer")(CHAT) == "A red boat."


def failure(ask):
    with pytest.raises(PiyingError) as caught:
        ask(CHAT)
    line = str(caught.value)
    assert "\n" not in line and "secret" not in line and caught.value.exit_code == 1
    return line


REFUSED = [
    (
        401,
        b'{"error": {"message": "no such\\nkey"}}',
        r"answers 401 (no such key): put a key that it takes into PIYING",
    ),
    (403, b"<html>", "answers 403: put a key"),
    (
        404,
        b'{"error": "model not found"}',
        "answers 404 (model not found): check the address, which mostly ends in /v1",
    ),
    (429, b"", "answers 429: it has enough of this key for now, try again later"),
    (500, b'{"error": {"message": "' + b"x" * 999 + b'"}}', f"answers 500 ({'x' * 200}): the fault is there"),
    (400, b'{"error": {}}', "answers 400: it does not take the request"),
]


@pytest.mark.parametrize(("status", "body", "line"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_each_refusal_is_one_line(server, status, body, line):
    server.status, server.body = status, body
    assert line in failure(endpoint(server.address, "writer", "secret"))


def test_a_redirection_is_not_followed(server):
    elsewhere = "http://127.0.0.1:1/v1"
    server.status, server.headers = 302, {"Location": elsewhere}
    assert f"it points to {elsewhere}" in failure(endpoint(server.address, "writer", "secret"))
    assert len(server.received) == 1


MALFORMED = [
    (b"", "is no chat completion (nothing)"),
    (b"{broken", "is no chat completion ({broken)"),
    (b'data: {"choices": []}\n\n', "is no chat completion (data:"),  # a stream, though none was asked for
    (b'{"choices": []}', "is no chat completion"),
    (b"[1]", "is no chat completion"),
    (b"\xff\xfe", "is no chat completion"),
    (completion(None), "is no text"),
    (completion("A red", "length"), "broke off its answer"),
]


@pytest.mark.parametrize(("body", "line"), MALFORMED, ids=range(len(MALFORMED)))
def test_an_answer_that_is_none_is_one_line(server, body, line):
    server.body = body
    assert line in failure(endpoint(server.address, "writer"))


@pytest.mark.parametrize("slow", [{"wait": 5.0}, {"drip": 0.1}])
def test_a_late_answer_is_not_waited_for(server, slow):
    server.body = completion("A red boat.")
    for name, value in slow.items():
        setattr(server, name, value)
    assert "no answer within 0.3 seconds" in failure(endpoint(server.address, "writer", timeout=0.3))


def test_a_door_that_does_not_open_is_not_waited_for(monkeypatch):
    def shut(*arguments, **options):
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", shut)
    assert "no answer within 0.3 seconds" in failure(endpoint("http://127.0.0.1:1/v1", "writer", timeout=0.3))


def test_an_answer_that_never_ends_is_left(server, monkeypatch):
    monkeypatch.setattr("piying.prompts.endpoint._LARGEST", 1000)
    server.body = b"x" * 100_000
    assert "answers with more than 1000 bytes" in failure(endpoint(server.address, "writer"))


def test_nobody_there_is_one_line():
    assert "cannot be reached (" in failure(endpoint("http://127.0.0.1:1/v1", "writer", "secret"))


@pytest.mark.parametrize(
    "address", ["ftp://host/v1", "file:///etc/passwd", "http://", "http://[", "http://host:many/v1", "host:8080/v1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="write an address such as http://127"):
        endpoint(address, "writer")


def test_a_model_must_be_named_and_a_key_be_one():
    with pytest.raises(UsageError, match="name a model of it with --enhancer-model"):
        endpoint("http://127.0.0.1:1/v1", None)
    with pytest.raises(UsageError, match="PIYING_ENDPOINT_KEY: holds") as caught:
        endpoint("http://127.0.0.1:1/v1", "writer", "secret\nkey")
    assert "secret" not in str(caught.value)
