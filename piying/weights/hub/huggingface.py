"""A repository on Hugging Face. HF_ENDPOINT and HF_TOKEN count as they do for its own tools."""

import os

from piying.errors import PiyingError
from piying.weights.hub.remote import Remote
from piying.weights.hub.transfer import RemoteFile, refusal


def look_up(hub_id: str) -> Remote:
    """What a repository holds at this moment. Raises PiyingError where it cannot be had."""
    from huggingface_hub import HfApi, constants, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers

    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it asks the hub for more, and tells it about this machine
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        info = HfApi(endpoint=endpoint).model_info(hub_id, files_metadata=True)
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        raise PiyingError(f"{hub_id}: {refusal(code, endpoint)}") from error
    except Exception as error:  # of the HTTP library beneath, which is another one in each major version
        raise PiyingError(f"{hub_id}: {endpoint} cannot be reached ({error}); see HF_ENDPOINT") from error
    files = [
        RemoteFile(
            path=sibling.rfilename,
            size=sibling.size or 0,
            url=hf_hub_url(info.id, sibling.rfilename, revision=info.sha, endpoint=endpoint),
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
            git=sibling.blob_id,
        )
        for sibling in info.siblings or []
    ]
    card = info.card_data.to_dict() if info.card_data else {}
    licence = card.get("license_name") or card.get("license")
    return Remote(info.id, info.sha or "main", licence, files, build_hf_headers(library_name="piying"))
