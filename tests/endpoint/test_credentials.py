"""Keys: where they come from, and that nothing shows them."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tovec.endpoint import credentials
from tovec.endpoint.credentials import Secret
from tovec.endpoint.providers import Provider
from tovec.errors import PersonError

KEY = "sk-canary-0123456789"


def provider(**more: Any) -> Provider:
    return Provider(name="p", base_url="http://127.0.0.1/v1", key_env="P_API_KEY", **more)


def find_key(provider: Provider, environ: Mapping[str, str]) -> Secret | None:
    """Return the key that goes to the provider's own address."""
    return credentials.find_key(provider, f"{provider.base_url}/embeddings", environ, {})


def test_a_secret_shows_itself_nowhere_but_by_name() -> None:
    """#170"""
    secret = Secret(KEY)
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>5}"} == {"***"}
    assert secret.reveal() == KEY
    assert not hasattr(secret, "__dict__")
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(secret)


def test_a_text_is_redacted_in_every_form_that_a_key_takes() -> None:
    """#171"""
    import base64
    import json
    import urllib.parse

    key = 'sk-"quoted"/key+1'
    forms = [
        key,
        json.dumps(key)[1:-1],
        urllib.parse.quote(key, safe=""),
        key.encode().hex(),
        base64.b64encode(key.encode()).decode(),
    ]
    for form in forms:
        assert Secret(key).blot(f"<{form}>") == "<***>"


def test_the_environment_comes_first_and_a_trailing_newline_is_no_part_of_a_key() -> None:
    """#167"""
    found = find_key(provider(key_command=("false",)), {"P_API_KEY": KEY + "\r\n"})
    assert found is not None and found.reveal() == KEY


@pytest.mark.parametrize(
    ("value", "place"),
    [("sk canary", 3), ("sk-\x1bcanary", 4), ("sk-canäry", 7), ("\ufeffsk-canary", 1),
     ("sk-canary\n\n", 10), (" sk-canary", 1)],
)  # fmt: skip
def test_a_character_no_key_has_is_named_by_its_place_and_never_shown(
    value: str, place: int
) -> None:
    """#167"""
    with pytest.raises(PersonError) as caught:
        find_key(provider(), {"P_API_KEY": value})
    assert caught.value.what.endswith(f"an invalid character at position {place}")
    assert "P_API_KEY" in caught.value.what
    assert "canary" not in caught.value.what + caught.value.hint + caught.value.where


def test_a_missing_key_names_the_variable_and_the_ways_out() -> None:
    """#167"""
    with pytest.raises(PersonError, match="P_API_KEY is not set") as caught:
        find_key(provider(), {})
    assert "-p local" in caught.value.hint
    assert find_key(provider(key_required=False), {}) is None


def test_an_empty_key_is_not_taken_for_none() -> None:
    """#167"""
    with pytest.raises(PersonError, match="empty"):
        find_key(provider(), {"P_API_KEY": ""})


def command(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_a_key_command_gives_the_key_and_sees_no_other_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "x")
    code = f"import os; print('{KEY}' if 'OTHER_API_KEY' not in os.environ else 'leak ed')"
    found = find_key(provider(key_command=command(code)), {})
    assert found is not None and found.reveal() == KEY


def test_a_failing_key_command_shows_its_stderr_without_control_characters() -> None:
    code = "import sys; sys.stderr.write('vault is \\x1b[31mlocked\\n'); sys.exit(3)"
    with pytest.raises(PersonError, match=r"exit status 3: vault is .*locked") as caught:
        find_key(provider(key_command=command(code)), {})
    assert "\x1b" not in caught.value.what


def test_a_key_command_that_is_not_there_or_hangs_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PersonError, match="cannot be started"):
        find_key(provider(key_command=("/nonexistent/vault",)), {})
    monkeypatch.setattr("tovec.endpoint.credentials.COMMAND_SECONDS", 0.2)
    with pytest.raises(PersonError, match="did not end"):
        find_key(provider(key_command=command("import time; time.sleep(60)")), {})


def test_a_key_file_must_be_private(tmp_path: Path) -> None:
    """#169"""
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    found = find_key(provider(key_file=str(path)), {})
    assert found is not None and found.reveal() == KEY
    for mode in (0o640, 0o604, 0o644):
        path.chmod(mode)
        with pytest.raises(PersonError, match="other users can read") as caught:
            find_key(provider(key_file=str(path)), {})
        assert caught.value.hint == f"chmod 600 {path}"


def test_a_key_file_that_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """#169"""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (pipe, tmp_path):
        with pytest.raises(PersonError, match="not a regular file"):
            find_key(provider(key_file=str(path)), {})
    large = tmp_path / "large"
    large.write_bytes(b"k" * 65_537)
    large.chmod(0o600)
    with pytest.raises(PersonError, match="too large"):
        find_key(provider(key_file=str(large)), {})
    with pytest.raises(PersonError, match="cannot be read"):
        find_key(provider(key_file=str(tmp_path / "none")), {})
