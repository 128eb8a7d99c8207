"""Which key goes to which address, seen by the server: every way to name the one and the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.loopback import Loopback

from tovec.cli.app import run
from tovec.cli.reporting import Reporter
from tovec.endpoint import providers

OPENAI, OTHER = "sk-openai-canary", "sk-address-canary"
PROVIDER_WAYS = ("flag", "environment", "config", "key")
ADDRESS_WAYS = ("--base-url", "--url", "base_url", "url", "providers.openai")


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(dimensions=4) as found:
        yield found


class Setting:
    """A command line with its environment and its config file."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = place / "config.toml"
        self.top, self.tables, self.words = "", "", ["--config", str(self.path)]
        self.setenv = monkeypatch.setenv

    def name_provider(self, way: str, name: str = "openai") -> None:
        """Choose a provider; by "key" its key in the environment is all that does."""
        if way == "flag":
            self.words += ["-p", name]
        elif way == "environment":
            self.setenv("TOVEC_PROVIDER", name)
        elif way == "config":
            self.top += f'provider = "{name}"\n'

    def name_address(self, way: str, base: str) -> None:
        """Name a server."""
        whole = f"{base}/embeddings"
        if way.startswith("--"):
            self.words += [way, whole if way == "--url" else base]
        elif way.startswith("providers."):
            self.tables += f'[{way}]\nbase_url = "{base}"\n'
        else:
            self.top += f'{way} = "{whole if way == "url" else base}"\n'

    def run(self, *words: str) -> int:
        self.path.write_text(self.top + self.tables)
        return run([*words, *self.words], Reporter())


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, monkeypatch)


def keys_seen(server: Loopback) -> set[str]:
    """Return whatever came to the server as a key, in any header."""
    return {
        word
        for entry in server.ledger.entries
        for value in entry.headers.values()
        for word in (OPENAI, OTHER)
        if word in value
    }


@pytest.mark.parametrize("with_own_key", [False, True], ids=["alone", "TOVEC_API_KEY"])
@pytest.mark.parametrize("address_way", ADDRESS_WAYS)
@pytest.mark.parametrize("provider_way", PROVIDER_WAYS)
def test_a_key_goes_to_its_own_provider_only(
    provider_way: str,
    address_way: str,
    with_own_key: bool,
    setting: Setting,
    server: Loopback,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """#191: every way to name a provider, times every way to name an address."""
    setting.setenv("OPENAI_API_KEY", OPENAI)
    if with_own_key:
        setting.setenv("TOVEC_API_KEY", OTHER)
    setting.name_provider(provider_way)
    setting.name_address(address_way, server.base_url)
    code = setting.run("embed", "hi", "-m", "m")
    said = capsys.readouterr().err
    if address_way == "providers.openai":
        assert (code, keys_seen(server)) == (0, {OPENAI})
    elif with_own_key:
        assert (code, keys_seen(server)) == (0, {OTHER})
    elif provider_way == "key":  # then it is a server that nobody says is OpenAI's
        assert (code, keys_seen(server)) == (0, set())
    else:
        assert (code, server.ledger.entries) == (5, [])
        assert "OPENAI_API_KEY" in said and "TOVEC_API_KEY" in said
        assert "https://api.openai.com" in said
    assert OPENAI not in said and OTHER not in said


@pytest.mark.parametrize("address_way", ADDRESS_WAYS[:4])
def test_another_path_of_a_providers_own_origin_gets_its_key(
    address_way: str, setting: Setting, server: Loopback
) -> None:
    """#191: a version, a deployment or a tenant in the path leads to the same server."""
    setting.setenv("OPENAI_API_KEY", OPENAI)
    setting.setenv("TOVEC_API_KEY", OTHER)
    setting.name_provider("flag")
    setting.name_address("providers.openai", server.base_url)
    setting.name_address(address_way, f"{server.base_url}/other")
    assert setting.run("embed", "hi", "-m", "m") == 0
    assert keys_seen(server) == {OPENAI}
    assert server.ledger.entries[0].path == "/v1/other/embeddings"


@pytest.mark.parametrize("source", ["key_env", "key_command", "key_file"])
@pytest.mark.parametrize("address_way", ["--base-url", "--url", "base_url", "url"])
def test_no_source_of_a_key_is_used_for_another_address(
    source: str, address_way: str, setting: Setting, server: Loopback, tmp_path: Path
) -> None:
    """#191: a provider of the user's own, with a key in a variable, from a command, in a file."""
    (tmp_path / "key").write_text(OPENAI)
    (tmp_path / "key").chmod(0o600)
    command = [sys.executable, "-c", f"open('{tmp_path}/ran', 'w'); print('{OPENAI}')"]
    value = {"key_env": "MINE_KEY", "key_command": command, "key_file": str(tmp_path / "key")}
    setting.setenv("MINE_KEY", OPENAI)
    for base in ('base_url = "https://mine.example/v1"\n', ""):  # with an address, and without
        setting.tables = f"[providers.mine]\n{base}{source} = {json.dumps(value[source])}\n"
        setting.top = ""
        setting.words[2:] = ["-p", "mine"]
        setting.name_address(address_way, server.base_url)
        assert setting.run("embed", "hi", "-m", "m") == 5
    assert not (tmp_path / "ran").exists()
    assert server.ledger.entries == []


@pytest.mark.parametrize(
    "words",
    [
        ["batch", "rows.txt", "-o", "out.jsonl"],
        ["similarity", "one", "two"],
        ["models", "--remote"],
        ["config", "check"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_asks_binds_the_key(
    words: list[str], setting: Setting, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#191"""
    monkeypatch.chdir(setting.path.parent)
    Path("rows.txt").write_text("one\ntwo\n")
    setting.setenv("OPENAI_API_KEY", OPENAI)
    setting.words += ["-p", "openai", "--base-url", server.base_url]
    setting.words += [] if words[0] == "models" else ["-m", "m"]
    assert setting.run(*words) == 5
    assert server.ledger.connections == 0


def test_a_provider_without_an_address_sends_its_key_to_its_known_hosts() -> None:
    """#191: Azure's, Cloudflare's and Hugging Face's users give the address, over https only."""
    from tovec.endpoint.credentials import is_own_address

    azure = providers.load()["azure"]
    own = ["https://res.openai.azure.com/openai", "https://res.openai.azure.com:443/x"]
    others = [
        "http://res.openai.azure.com/openai",
        "https://res.openai.azure.com:8443/openai",
        "https://openai.azure.com.evil.example/",
        "https://evilopenai.azure.com/",
        "https://openai.azure.com/",
        "http://127.0.0.1:8080/v1",
    ]
    assert all(is_own_address(azure, url) for url in own)
    assert not any(is_own_address(azure, url) for url in others)
    at_home = providers.load({"azure": {"base_url": "https://gateway.example/azure"}})["azure"]
    assert is_own_address(at_home, "https://gateway.example/other")
    for row in providers.load().values():  # a row with neither has nowhere to send a key
        assert row.base_url or row.key_hosts or row.name == "custom"


def test_a_key_command_sees_no_key_of_any_provider(
    setting: Setting, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#191: neither those of the table (GITHUB_TOKEN, HF_TOKEN), nor the user's own."""
    names = {*providers.key_variables(), "MINE_KEY", "OTHERS_SECRET", "ANY_API_KEY"}
    for name in names:
        monkeypatch.setenv(name, OTHER)
    monkeypatch.delenv("MINE_KEY")  # so that the command is asked
    monkeypatch.setenv("HARMLESS", "stays")
    code = (
        f"import os; seen = set(os.environ) & {names!r};"
        f"print('{OPENAI}' if not seen and os.environ['HARMLESS'] == 'stays' else 'leaked')"
    )
    setting.tables = (
        f'[providers.mine]\nbase_url = "{server.base_url}"\nkey_env = "MINE_KEY"\n'
        f"key_command = {json.dumps([sys.executable, '-c', code])}\n"
        '[providers.other]\nkey_env = "OTHERS_SECRET"\n'
        '[providers.openai]\nkey_env = "MY_OPENAI"\n'
    )
    assert setting.run("embed", "hi", "-p", "mine", "-m", "m") == 0
    assert keys_seen(server) == {OPENAI}


@pytest.mark.parametrize(
    ("mode", "code"), [(0o600, 0), (0o644, 0), (0o664, 5), (0o646, 5), (0o666, 5)]
)
def test_a_config_that_others_can_write_may_not_name_a_command(
    mode: int, code: int, setting: Setting, server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    """#191: whoever writes it chooses a program that runs as the user."""
    command = json.dumps([sys.executable, "-c", f"print('{OPENAI}')"])
    setting.tables = f'[providers.mine]\nbase_url = "{server.base_url}"\nkey_command = {command}\n'
    setting.path.touch()
    setting.path.chmod(mode)
    assert setting.run("embed", "hi", "-p", "mine", "-m", "m") == code
    assert len(server.ledger.entries) == (code == 0)
    assert ("chmod go-w" in capsys.readouterr().err) == (code == 5)
