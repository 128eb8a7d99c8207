"""What tests share: a clean environment, and `tovec` as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# No deadline: a slow machine is no failure. And whether a change lands must not depend on chance:
# .ci/run sets FIXED_EXAMPLES; wherever else tests run, examples are random.
FIXED = "FIXED_EXAMPLES" in os.environ
hypothesis.settings.register_profile("tovec", deadline=None, derandomize=FIXED)
hypothesis.settings.load_profile("tovec")

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    """No test sees the keys, the config or the proxy of whoever runs it."""
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.startswith("TOVEC_") or "proxy" in name.lower():
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture
def tovec() -> Run:
    """Run `tovec` with arguments; `input` is its stdin, `env` is laid over the environment."""

    def run(*arguments: object, env: dict[str, str] | None = None, **more):
        more.setdefault("input", b"" if "stdin" not in more else None)
        if more["input"] is None:
            del more["input"]
        if isinstance(more.get("input"), str):
            more["input"] = more["input"].encode()
        return subprocess.run(
            [sys.executable, "-m", "tovec", *map(str, arguments)],
            env={**os.environ, **(env or {})},
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            timeout=60,
            check=False,
            **more,
        )

    return run


@pytest.fixture
def jsonl(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Write rows to a JSONL file."""
    import orjson

    def write(rows: list[object], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return path

    return write
