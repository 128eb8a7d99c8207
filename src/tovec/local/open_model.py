"""From a provider's name and a folder to the model: what `-p` and `-m` choose."""

from __future__ import annotations

from tovec.errors import UsageError
from tovec.local.embedded import EmbeddedModel
from tovec.local.local_model import LocalModel
from tovec.local.model_folder import find_model2vec, find_onnx

EMBEDDED = "local"


def open_model(provider: str, folder: str | None) -> LocalModel:
    """Return the model; its files are checked, and loaded when they are needed.

    Raises UsageError for what is missing or cannot be meant.
    """
    if provider == EMBEDDED:
        return EmbeddedModel()
    if folder is None:
        raise UsageError(
            f"-p {provider} needs the model's folder",
            hint="-m DIR; tovec never downloads: hf download ORG/NAME --local-dir DIR",
        )
    if provider == "onnx":
        from tovec.local.onnx_model import OnnxModel

        return OnnxModel(find_onnx(folder))
    from tovec.local.table_model import TableModel

    return TableModel(find_model2vec(folder))
