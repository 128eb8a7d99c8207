"""A model's folder as a hub or sentence-transformers laid it down: the one place that knows how.

Nothing is ever downloaded: a file that is missing is named, with the command that fetches it. The
model's id holds a digest of every file that vectors depend on, so two versions never mix.
Source: the folders that sentence-transformers writes (modules.json, 1_Pooling/config.json,
sentence_bert_config.json, config_sentence_transformers.json), and those of model2vec.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from tovec.errors import UsageError

POOLINGS = ("cls", "mean", "max", "lasttoken")
MODULES = ("Transformer", "Pooling", "Normalize")
MAX_CONFIG_BYTES = 1 << 20
MAX_TABLE_TOKENS = 8_192  # of a text; a mean has no limit of its own
NO_PROMPT = "none"  # as a prompt's name
_READ_BYTES = 1 << 20
_ONNX_FILES = ("model.onnx", "onnx/model.onnx")
_CONFIGS = (
    *("config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"),
    *("config_sentence_transformers.json", "tokenizer_config.json"),
)
# A tokenizer's own limit is "very large" where nobody set one.
_MAX_KNOWN_TOKENS = 1 << 20


class ModelFolder(NamedTuple):
    """A folder whose files were found, and what they say."""

    path: Path
    id: str
    weights: Path
    tokenizer: Path
    pooling: str  # one of POOLINGS
    pooling_is_assumed: bool
    normalize: bool
    dimensions: int | None
    max_tokens: int | None
    prompts: Mapping[str, str]
    default_prompt: str
    config: Mapping[str, object]  # config.json

    def prompt_text(self, prompt: str | None) -> str:
        """Return what stands before each text: the text of a named prompt, or `prompt` itself.

        Raises UsageError for a single word without a colon that is no prompt of the folder.
        """
        if prompt is None:
            return self.default_prompt
        if prompt == NO_PROMPT:
            return ""
        for name in (prompt, _SYNONYMS.get(prompt, prompt)):
            if name in self.prompts:
                return self.prompts[name]
        if _NAME.fullmatch(prompt):
            known = ", ".join(sorted(self.prompts)) or "none"
            raise UsageError(
                f"{self.path} has no prompt named {prompt}; it has: {known}",
                hint=f"give the text that the model's card names, such as --prompt '{prompt}: '",
            )
        return prompt


_NAME = re.compile(r"[\w.-]+")
_SYNONYMS = {"passage": "document", "document": "passage"}


def find_onnx(given: str) -> ModelFolder:
    """Return the folder of an ONNX model; `given` is the folder, or the .onnx file in it.

    Raises UsageError for what is missing, or needs more than tovec computes.
    """
    path, weights = _directory(given, ".onnx")
    if weights is None:
        weights = _onnx_file(path)
    configs = _read_configs(path)
    _check_modules(path, configs)
    pooling = _pooling(path, configs)
    data = sorted(p for p in weights.parent.iterdir() if p.name.startswith(f"{weights.name}_data"))
    data += sorted(weights.parent.glob("*.onnx.data"))
    return _folder(path, weights, configs, data, pooling)


def find_model2vec(given: str) -> ModelFolder:
    """Return the folder of a model2vec table.

    Raises UsageError for what is missing.
    """
    path, weights = _directory(given, ".safetensors")
    weights = weights or _required(path, "model.safetensors")
    folder = _folder(path, weights, _read_configs(path), [], "mean")
    limit = _whole(folder.config, "max_length") or MAX_TABLE_TOKENS
    normalize = folder.config.get("normalize") is not False
    return folder._replace(normalize=normalize, max_tokens=limit)


def _folder(
    path: Path,
    weights: Path,
    configs: Mapping[str, Mapping[str, object]],
    data: Sequence[Path],
    pooling: str,
) -> ModelFolder:
    tokenizer = _required(path, "tokenizer.json")
    config, own = configs["config.json"], configs["config_sentence_transformers.json"]
    pooled = configs["1_Pooling/config.json"]
    prompts = _prompts(path, own)
    default = own.get("default_prompt_name")
    named = [path / name for name in _CONFIGS if (path / name).is_file()]
    types = _module_types(configs)
    return ModelFolder(
        path=path,
        id=f"{_name(path)}@{_digest(path, [weights, *data, tokenizer, *named])}",
        weights=weights,
        tokenizer=tokenizer,
        pooling=pooling or "mean",
        pooling_is_assumed=not pooling,
        normalize=not types or "Normalize" in types,
        dimensions=_whole(pooled, "word_embedding_dimension")
        or _whole(config, "hidden_size")
        or _whole(config, "hidden_dim"),
        max_tokens=_max_tokens(configs),
        prompts=prompts,
        default_prompt=prompts.get(default, "") if isinstance(default, str) else "",
        config=config,
    )


def _directory(given: str, suffix: str) -> tuple[Path, Path | None]:
    """Return the folder, and the file of weights in it where the user names one."""
    path = Path(given).expanduser()
    if path.is_dir():
        return path, None
    if path.is_file() and path.suffix == suffix:
        parent = path.parent
        return (parent.parent if parent.name == "onnx" else parent), path
    name = given.strip("/")
    hub = name if name.count("/") == 1 and not given.startswith((".", "/", "~")) else "ORG/NAME"
    folder = hub.rpartition("/")[2]
    raise UsageError(
        f"there is no model folder {given}",
        hint=f"tovec never downloads: hf download {hub} --local-dir {folder}, then -m {folder}",
    )


def _onnx_file(path: Path) -> Path:
    for name in _ONNX_FILES:
        if (path / name).is_file():
            return path / name
    others = sorted([*path.glob("*.onnx"), *path.glob("onnx/*.onnx")])
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(str(other.relative_to(path)) for other in others[:6])
        raise UsageError(
            f"{path} has {len(others)} ONNX files: {names}", hint=f"name one: -m {others[0]}"
        )
    raise _missing(path, "model.onnx", "--include 'onnx/model.onnx*'")


def _required(path: Path, name: str) -> Path:
    if not (path / name).is_file():
        raise _missing(path, name, name)
    return path / name


def _missing(path: Path, name: str, wanted: str) -> UsageError:
    return UsageError(
        f"{path} has no {name}",
        hint=f"tovec never downloads: hf download ORG/NAME {wanted} --local-dir {path}",
    )


def _read_configs(path: Path) -> dict[str, Mapping[str, object]]:
    """Return the folder's JSON files, an absent one as an empty table; a list under "modules"."""
    configs: dict[str, Mapping[str, object]] = {}
    for name in _CONFIGS:
        file, found = path / name, None
        if not file.is_file():
            configs[name] = {}
            continue
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_CONFIG_BYTES + 1)
            found = json.loads(content) if len(content) <= MAX_CONFIG_BYTES else None
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(file)) from None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list):
            found = {"modules": found}
        if not isinstance(found, dict):
            raise UsageError("is not the JSON that it should be", where=str(file))
        configs[name] = found
    return configs


def _module_types(configs: Mapping[str, Mapping[str, object]]) -> list[str]:
    modules = configs["modules.json"].get("modules")
    rows = modules if isinstance(modules, list) else []
    return [str(row.get("type")).rpartition(".")[2] for row in rows if isinstance(row, dict)]


def _check_modules(path: Path, configs: Mapping[str, Mapping[str, object]]) -> None:
    for module in _module_types(configs):
        if module not in MODULES:
            raise UsageError(
                f"the model has a module {module}, which tovec does not compute",
                where=str(path / "modules.json"),
                hint=f"what it computes: {', '.join(MODULES)}",
            )


def _pooling(path: Path, configs: Mapping[str, Mapping[str, object]]) -> str:
    """Return how token vectors become one; "" where the folder does not say."""
    config, where = configs["1_Pooling/config.json"], path / "1_Pooling" / "config.json"
    if not config:
        return ""
    if config.get("include_prompt") is False:
        raise UsageError("pools without the prompt, which tovec does not", where=str(where))
    named = config.get("pooling_mode")
    chosen = (
        [named]
        if isinstance(named, str)
        else [
            name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
            for name, value in config.items()
            if name.startswith("pooling_mode_") and value is True
        ]
    )
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise UsageError(
            f"pools by {' and '.join(map(str, chosen)) or 'nothing'}",
            where=str(where),
            hint=f"tovec pools by one of {', '.join(POOLINGS)}",
        )
    return str(chosen[0])


def _max_tokens(configs: Mapping[str, Mapping[str, object]]) -> int | None:
    """Return the least of the limits that the folder names; sentence-transformers' own first."""
    own = _whole(configs["sentence_bert_config.json"], "max_seq_length")
    if own:
        return own
    known = [
        _whole(configs["tokenizer_config.json"], "model_max_length"),
        _whole(configs["config.json"], "max_position_embeddings"),
    ]
    return min((n for n in known if n), default=None)


def _whole(config: Mapping[str, object], name: str) -> int | None:
    value = config.get(name)
    return value if type(value) is int and 0 < value <= _MAX_KNOWN_TOKENS else None


def _prompts(path: Path, config: Mapping[str, object]) -> dict[str, str]:
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(t, str) for t in prompts.values()):
        where = str(path / "config_sentence_transformers.json")
        raise UsageError("its prompts are not a table of texts", where=where)
    return prompts


def _name(path: Path) -> str:
    """Return the model's name: the folder's, or the repository's in a hub's cache."""
    path = path.resolve()
    if path.parent.name == "snapshots":
        path = path.parent.parent
    name = path.name.rpartition("--")[2]
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name) or "model"


def _digest(path: Path, files: Sequence[Path]) -> str:
    """Return a digest of the files, each with its place in the folder."""
    whole = blake2b(digest_size=6)
    for file in files:
        part = blake2b(str(file.relative_to(path)).encode())
        try:
            with file.open("rb") as opened:
                while block := opened.read(_READ_BYTES):
                    part.update(block)
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(file)) from None
        whole.update(part.digest())
    return whole.hexdigest()
