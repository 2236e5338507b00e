"""A chat model in a folder of this machine, run by transformers."""

import base64
import io
from pathlib import Path
from typing import Any

from piying.errors import PiyingError
from piying.prompts.enhance import Ask, Chat
from piying.prompts.folder import opening

_LONGEST = 1024  # tokens of an answer, aloud thoughts among them


def local(folder: Path, *, sees: bool = False, option: str = "enhancer") -> Ask:
    """Asks the model of a folder as Hugging Face lays it out: safetensors, tokenizer, chat template. Nothing is fetched
    and no code of the folder is run. One that `sees` takes pictures; `option` is what the folder was given as.

    Raises UsageError for a folder that is none, PiyingError where transformers is missing or cannot read it.
    """
    with opening(folder, option, "the folder of a chat model, or an address") as given:
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

        reader: Any = (AutoProcessor if sees else AutoTokenizer).from_pretrained(folder, **given)
        network: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        model = network.from_pretrained(folder, dtype="auto", use_safetensors=True, **given)
    if reader.chat_template is None:
        raise PiyingError(f"{option}={folder}: has no chat template; use a model that was made for chats")
    import torch

    from piying import device

    model = model.to(device.best()).eval()

    def ask(chat: Chat) -> str:
        shown = [{**message, "content": _opened(message["content"])} for message in chat] if sees else chat
        told = reader.apply_chat_template(
            shown, add_generation_prompt=True, tokenize=True, return_tensors="pt", return_dict=True
        )
        told = told.to(model.device, model.dtype) if sees else told.to(model.device)
        with torch.inference_mode():
            answer = model.generate(**told, max_new_tokens=_LONGEST, do_sample=False)
        return reader.decode(answer[0, told["input_ids"].shape[1] :], skip_special_tokens=True)

    return ask


def _opened(content: Any) -> list[dict[str, Any]]:
    """The parts of a message, its pictures out of their data addresses."""
    from PIL import Image

    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts = []
    for part in content:
        if part["type"] == "image_url":
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
            part = {"type": "image", "image": Image.open(io.BytesIO(data)).convert("RGB")}
        parts.append(part)
    return parts
