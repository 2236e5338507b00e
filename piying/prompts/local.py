"""A chat model in a folder of this machine, run by transformers."""

from pathlib import Path
from typing import Any

from piying.errors import PiyingError, UsageError
from piying.prompts.enhance import Ask, Chat

_LONGEST = 1024  # tokens of an answer, aloud thoughts among them


def local(folder: Path) -> Ask:
    """Asks the model of a folder as Hugging Face lays it out: safetensors, tokenizer, chat template. Nothing is fetched
    and no code of the folder is run.

    Raises UsageError for a folder that is none, PiyingError where transformers is missing or cannot read it.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"enhancer={folder}: no config.json there; name the folder of a chat model, or an address")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from piying import device
    except ImportError:
        raise PiyingError(f"enhancer={folder}: needs transformers, pip install 'piying[enhance]'") from None
    local_only: Any = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local_only)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True, **local_only)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise PiyingError(f"enhancer={folder}: cannot be read ({_first_line(error)})") from None
    if tokenizer.chat_template is None:
        raise PiyingError(f"enhancer={folder}: has no chat template; use a model that was made for chats")
    model = model.to(device.best()).eval()

    def ask(chat: Chat) -> str:
        told = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        told = told.to(model.device)
        with torch.inference_mode():
            answer = model.generate(**told, max_new_tokens=_LONGEST, do_sample=False)
        return tokenizer.decode(answer[0, told["input_ids"].shape[1] :], skip_special_tokens=True)

    return ask


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
