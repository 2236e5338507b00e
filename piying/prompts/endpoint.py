"""A chat model behind an OpenAI-compatible endpoint, on this machine or elsewhere."""

import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from piying.errors import PiyingError, UsageError
from piying.prompts.enhance import Ask, Chat

_LARGEST = 4_000_000  # bytes of an answer


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: what was sent, and the key, are for the address that was named."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def endpoint(
    address: str, model: str | None, key: str | None = None, *, timeout: float = 120, option: str = "enhancer"
) -> Ask:
    """Asks `model` at an address such as http://127.0.0.1:8080/v1; `timeout` is in seconds for a whole answer, `option`
    is what the address was given as.

    Raises UsageError for what cannot be an address or a missing model; asking raises PiyingError, one line for each way
    to fail.
    """
    host = _host(address, option)
    if not model:
        raise UsageError(f"{option}={address}: name a model of it with --{option}-model or PIYING_ENDPOINT_MODEL")
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        if not (key.isascii() and key.isprintable()):
            raise UsageError("PIYING_ENDPOINT_KEY: holds what no key can hold, such as a line end; set it again")
        headers["Authorization"] = f"Bearer {key}"
    url = address.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
    proxies: dict[str, str] | None = {} if _is_here(host) else None  # what stays on this machine passes no proxy
    opener = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler(proxies))

    def ask(chat: Chat) -> str:
        body = json.dumps({"model": model, "messages": chat, "stream": False}).encode()
        try:
            request = urllib.request.Request(url, body, headers)
            deadline = time.monotonic() + timeout
            with opener.open(request, timeout=timeout) as response:
                return _content(_read(response, deadline), option)
        except urllib.error.HTTPError as error:
            raise PiyingError(f"{option}={address}: {_refusal(error, model)}") from None
        except TimeoutError:
            raise PiyingError(f"{option}={address}: no answer within {timeout:g} seconds; try again later") from None
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                line = f"no answer within {timeout:g} seconds; try again later"
            elif isinstance(error, ValueError):
                line = f"{reason}; is it OpenAI-compatible? Its address mostly ends in /v1"
            else:
                line = f"cannot be reached ({_line(reason) or type(reason).__name__}); start it, or name another"
            raise PiyingError(f"{option}={address}: {line}") from None

    return ask


def _host(address: str, option: str) -> str:
    try:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # brackets that do not close, a port that is no number
        pass
    raise UsageError(f"{option}={address}: write an address such as http://127.0.0.1:8080/v1, or a folder")


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body, which may neither drip for ever nor fill the memory."""
    body = b""
    while chunk := response.read1(65536):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > _LARGEST:
            raise ValueError(f"answers with more than {_LARGEST} bytes")
    return body


def _content(body: bytes, option: str) -> str:
    """The text of a chat completion. Raises ValueError, to go on after the address, where it is none."""
    try:
        choice = json.loads(body)["choices"][0]
        content, end = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"answers with what is no chat completion ({_line(body[:60]) or 'nothing'})") from None
    if not isinstance(content, str):
        raise ValueError(f"answers with what is no text ({_line(content)})")
    if end == "length":
        raise PiyingError(f"the {option} broke off its answer: let it write more tokens, or use another")
    return content


def _refusal(error: urllib.error.HTTPError, model: str) -> str:
    said = _line(_told(error))
    answer = f"answers {error.code}" + (f" ({said})" if said else "")
    match error.code:
        case 401 | 403:
            return f"{answer}: put a key that it takes into PIYING_ENDPOINT_KEY"
        case 404:
            return f"{answer}: check the address, which mostly ends in /v1, and the model {model}"
        case 429:
            return f"{answer}: it has enough of this key for now, try again later"
        case code if 300 <= code < 400:
            return f"{answer}: it points to {_line(error.headers.get('Location'))}, name that if you trust it"
        case code if code >= 500:
            return f"{answer}: the fault is there, try again later"
        case _:
            return f"{answer}: it does not take the request, try another model"


def _told(error: urllib.error.HTTPError) -> object:
    """What a refusal says for itself, where it is JSON."""
    try:
        told = json.loads(error.read(10_000))["error"]
        return told["message"] if isinstance(told, dict) else told
    except (ValueError, LookupError, TypeError, OSError):
        return ""


def _line(value: object) -> str:
    """Whatever a stranger sent, as one short printable line."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
