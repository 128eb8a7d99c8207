"""`tovec config`: what is in force and where it came from; `check`: does it work."""

import json

import pytest
from tests.servers.loopback import Fault, Loopback

KEY = "sk-canary-0123456789"


def settings(done) -> dict[str, tuple]:
    return {row["setting"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}


def test_each_setting_is_shown_with_its_origin_and_keys_only_as_set(tovec, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('provider = "openai"\ndimensions = 64\n')
    done = tovec(
        *("config", "--config", path, "-m", "m1", "--format", "json"), env={"OPENAI_API_KEY": KEY}
    )
    found = settings(done)
    assert found["provider"] == ("openai", str(path))
    assert found["dimensions"] == (64, str(path))
    assert found["model"] == ("m1", "--model")
    assert found["address"] == ("https://api.openai.com/v1/embeddings", "provider openai")
    assert found["key"] == ("set", "OPENAI_API_KEY")
    assert KEY.encode() not in done.stdout + done.stderr


def test_the_environment_and_the_one_key_that_is_set_are_origins(tovec):
    chosen = settings(tovec("config", "--format", "json", env={"TOVEC_PROVIDER": "local"}))
    assert chosen["provider"] == ("local", "TOVEC_PROVIDER")
    by_key = settings(tovec("config", "--format", "json", env={"AIVENE_API_KEY": KEY}))
    assert by_key["provider"] == ("aivene", "AIVENE_API_KEY is set")


def test_without_a_provider_it_still_shows_what_is_there(tovec):
    done = tovec("config", "--format", "json")
    assert done.returncode == 0
    assert settings(done)["provider"][0] is None


def test_a_typo_in_the_config_is_named_in_three_lines(tovec, tmp_path):
    """#177"""
    path = tmp_path / "my.toml"
    path.write_text('[providers.mine]\nbase_ulr = "https://x.example"\n')
    done = tovec("config", "--config", path)
    assert done.returncode == 2
    assert b"base_ulr" in done.stderr and b"base_url" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_check_reports_each_step_of_a_working_endpoint(tovec):
    with Loopback(dimensions=96, rpm=1000) as server:
        options = ["--base-url", server.base_url, "-m", "m"]
        done = tovec("config", "check", *options, env={"TOVEC_API_KEY": KEY})
        assert len(server.ledger.entries) == 1
    steps = {line.split()[0]: line for line in done.stdout.decode().splitlines()}
    assert done.returncode == 0
    assert "the key is accepted" in steps["auth"]
    assert steps["dimensions"].split()[-1] == "96"
    assert "limit-requests=1000" in steps["rate"]
    assert {"settings", "dns", "connect", "tls", "model", "base64", "latency"} <= set(steps)
    assert KEY.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("fault", "code", "last"), [(401, 5, "tls"), (404, 5, "tls"), (503, 4, "tls")]
)
def test_check_stops_at_the_step_that_fails_with_its_exit_code(tovec, fault, code, last):
    with Loopback(faults=[Fault("status", status=fault)]) as server:
        done = tovec("config", "check", "--base-url", server.base_url, "-m", "m")
    assert done.returncode == code
    assert done.stdout.decode().splitlines()[-1].startswith(last)
    assert str(fault).encode() in done.stderr


def test_check_works_on_the_embedded_model_without_a_network(tovec):
    done = tovec("config", "check", "-p", "local")
    assert done.returncode == 0
    assert b"dimensions   ok       256" in done.stdout


def test_check_of_an_address_with_nothing_behind_it_says_so(tovec):
    done = tovec("config", "check", "--base-url", "http://127.0.0.1:9/v1", "-m", "m")
    assert done.returncode == 4
    assert b"refused" in done.stderr
