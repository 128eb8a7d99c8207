"""`tovec models`: what is known, and what the endpoint says."""

import json
import os

import pytest
from tests.servers.loopback import Loopback

from tovec.cli import listing_view as listing
from tovec.cli.app import run
from tovec.cli.reporting import Reporter


def test_models_are_listed_with_prices_and_pages(tovec):
    rows = json.loads(tovec("models", "--format", "json").stdout)
    small = next(row for row in rows if row["id"] == "text-embedding-3-small")
    assert (small["dimensions"], small["input"], small["pages_per_dollar"]) == (1536, 8192, 62500)
    assert rows[0]["id"] == "static-minilm-256"


def test_one_model_is_shown_and_a_typo_gets_a_suggestion(tovec):
    (row,) = json.loads(tovec("models", "static-minilm-256", "--format", "json").stdout)
    assert row["dimensions"] == 256
    done = tovec("models", "static-minilm-265")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"did you mean static-minilm-256?" in done.stderr


def test_tsv_has_a_header_and_a_line_for_each_row(tovec):
    lines = tovec("models", "--format", "tsv").stdout.decode().splitlines()
    assert lines[0].split("\t")[:2] == ["id", "dimensions"]
    assert all(line.count("\t") == lines[0].count("\t") for line in lines)


def test_providers_say_whether_their_key_is_set_and_never_its_value(tovec):
    done = tovec("models", "--providers", "--format", "json", env={"AIVENE_API_KEY": "sk-canary"})
    rows = {row["provider"]: row for row in json.loads(done.stdout)}
    assert rows["aivene"]["set"] is True and rows["openai"]["set"] is False
    assert rows["local"]["set"] is None
    assert b"sk-canary" not in done.stdout + done.stderr


@pytest.mark.parametrize("form", ["json", "tsv"])
def test_programs_get_where_a_providers_facts_are_from(form, capsys):
    """A table for people has no room for them."""
    assert run(["models", "--providers", "--format", form], Reporter()) == 0
    said = capsys.readouterr().out
    assert all(fact in said for fact in ("https://docs.nugen.in", "usage has only total_tokens"))
    assert run(["models", "--format", form], Reporter()) == 0
    assert "Nugen, embeddings endpoint: the name alone" in capsys.readouterr().out
    for words in (["models", "--providers"], ["models"]):
        assert run(words, Reporter()) == 0
        assert "Nugen, embeddings" not in capsys.readouterr().out


def test_a_long_value_is_cut_in_a_table_and_nowhere_else(tmp_path, capsys):
    """A program that reads a cut value would take it for the whole one."""
    note = "a long habit " * 40
    path = tmp_path / "c.toml"
    path.write_text(f'[providers.mine]\nbase_url = "https://h.example/v1"\nnote = "{note}"\n')
    for form in ("json", "tsv"):
        words = ["models", "--providers", "--config", str(path), "--format", form]
        assert run(words, Reporter()) == 0
        assert note in capsys.readouterr().out


def test_remote_adds_the_endpoints_own_models(tovec):
    with Loopback(model="served-here") as server:
        done = tovec("models", "--remote", "--base-url", server.base_url, "--format", "json")
    assert "served-here" in [row["id"] for row in json.loads(done.stdout)]


def test_a_models_list_that_is_not_there_is_exit_4(tovec):
    done = tovec("models", "--remote", "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) <= 3


def test_the_endpoints_models_are_not_mixed_with_those_of_others(tmp_path, monkeypatch, capsys):
    """#200: a server's list named OpenAI's models, which it does not have."""
    with Loopback(model="served-here") as server:
        (tmp_path / "c.toml").write_text(f'[providers.openai]\nbase_url = "{server.base_url}"\n')
        words = ["models", "--remote", "--format", "json"]
        assert run([*words, "--base-url", server.base_url], Reporter()) == 0
        found = json.loads(capsys.readouterr().out)
        assert [(row["id"], row["served"]) for row in found] == [("served-here", True)]
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
        words += ["-p", "openai", "--config", str(tmp_path / "c.toml")]
        assert run(words, Reporter()) == 0
    served = {row["id"]: row["served"] for row in json.loads(capsys.readouterr().out)}
    assert served["served-here"] is True
    assert served["text-embedding-3-small"] is False
    assert "static-minilm-256" not in served


def test_a_password_in_a_providers_address_is_not_listed(tmp_path, capsys):
    """#192"""
    path = tmp_path / "c.toml"
    path.write_text('[providers.mine]\nbase_url = "https://me:canary@h.example/v1"\n')
    for form in ("table", "json", "tsv"):
        words = ["models", "--providers", "--config", str(path), "--format", form]
        assert run(words, Reporter()) == 0
        said = capsys.readouterr()
        assert "mine" in said.out and "canary" not in said.out + said.err


@pytest.mark.parametrize("columns", [80, 60, 30])
def test_a_narrow_table_never_cuts_the_keys_variable(columns, monkeypatch, capsys):
    """#201: the address goes first; the variable is what the table is for."""
    monkeypatch.setattr(listing, "is_terminal", lambda: True)
    monkeypatch.setattr(
        listing.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((columns, 24))
    )
    assert run(["models", "--providers"], Reporter()) == 0
    lines = capsys.readouterr().out.splitlines()
    keys = {line.split()[1] for line in lines[1:]}
    assert {"AZURE_OPENAI_API_KEY", "CLOUDFLARE_API_TOKEN", "OPENAI_API_KEY"} <= keys
    assert "address" not in lines[0]
    assert columns < 60 or max(map(len, lines)) <= columns


def test_a_wide_terminal_shows_every_column(monkeypatch, capsys):
    """#201"""
    monkeypatch.setattr(listing, "is_terminal", lambda: True)
    monkeypatch.setattr(
        listing.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((200, 24))
    )
    assert run(["models", "--providers"], Reporter()) == 0
    assert "address" in capsys.readouterr().out.splitlines()[0]
