"""`tovec config`: what is in force and where it came from; `check`: does it work."""

import json
import socket

import pytest
from tests.servers.loopback import Fault, Loopback
from tests.servers.sockets import listening

from tovec.cli.app import run
from tovec.cli.reporting import Reporter
from tovec.settings import RANGES

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


def test_the_proxy_in_effect_is_shown_without_its_password(tovec):
    """#196"""
    env = {"HTTPS_PROXY": "http://me:canary@proxy.example:3128", "OPENAI_API_KEY": KEY}
    done = tovec("config", "--format", "json", env=env)
    assert settings(done)["proxy"] == ("http://proxy.example:3128", "HTTPS_PROXY")
    assert b"canary" not in done.stdout + done.stderr
    assert "proxy" not in settings(tovec("config", "--format", "json", "-p", "ollama", env=env))


def test_check_names_a_proxy_that_is_dead(monkeypatch, capsys):
    """#196: it ends as any outage does, and blames the right one."""
    monkeypatch.setenv("TOVEC_API_KEY", KEY)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", place)
        words = ["config", "check", "--base-url", "https://endpoint.invalid/v1", "-m", "m"]
        assert run(words, Reporter()) == 4
    said = capsys.readouterr()
    assert f"proxy        ok       {place}, named by HTTPS_PROXY" in said.out
    assert f"the proxy {place} cannot be reached" in said.err


def test_the_key_that_an_address_gets_is_shown(monkeypatch, capsys):
    """#191: for an address that is not the provider's own, it is another one."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    words = ["config", "-p", "openai", "--base-url", "https://other.example/v1"]
    assert run([*words, "--format", "json"], Reporter()) == 0
    rows = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["key"]["value"] == "missing"
    assert "TOVEC_API_KEY" in rows["key"]["origin"] and "OPENAI_API_KEY" in rows["key"]["origin"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("dimensions", one) for one in ("0", "-4", "65537", "9" * 30)],
        *[("timeout", one) for one in ("0", "-5", "nan", "inf", "1e9")],
        *[("give-up-after", one) for one in ("-1", "nan", "inf")],
        *[("max-retries", one) for one in ("-1", "9" * 30)],
        *[("concurrency", one) for one in ("0", "100000")],
        *[("rpm", one) for one in ("0", "-1", "9" * 30)],
        *[("tpm", one) for one in ("0", "-1")],
        *[("model", one) for one in ("", "m\x1b")],
        *[("user", one) for one in ("", "u\x7f")],
        ("encoding-format", "hex"),
        ("provider", ""),
        ("base-url", ""),
        ("url", "ftp://h"),
    ],
)
def test_a_value_is_checked_alike_on_the_command_line_and_in_the_config(
    option, value, tmp_path, capsys
):
    """#194: a config with `rpm = 0` hung for ever, where --rpm 0 was refused."""
    words = ["embed", "hi", "-m", "m"] if option != "model" else ["embed", "hi"]
    words += [] if option in ("provider", "base-url", "url") else ["-p", "ollama"]
    assert run([*words, f"--{option}={value}"], Reporter()) == 2
    typed = capsys.readouterr().err
    assert f"--{option}" in typed.splitlines()[0]
    number = option in RANGES or option.replace("-", "_") in RANGES
    field = f"{option.replace('-', '_')} = {value if number else json.dumps(value)}\n"
    (tmp_path / "c.toml").write_text(field.replace("\x7f", "\\u007f"))
    assert run([*words, "--config", str(tmp_path / "c.toml")], Reporter()) == 2
    in_file = capsys.readouterr().err
    assert str(tmp_path / "c.toml") in in_file
    end = typed.splitlines()[0].partition(" must ")[2]
    assert end in in_file, "in the same words"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "9" * 30, '{"a": [-1e999]}', '"\\ud800"'])
def test_an_extra_field_that_json_cannot_hold_is_refused(value, capsys):
    """#194"""
    assert run(["embed", "hi", "-p", "ollama", "-m", "m", "--extra", f"x={value}"], Reporter()) == 2
    assert "--extra: 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "model = " + "9" * 5000, "extra = " + "{a=" * 500 + "1" + "}" * 500,
        "extra = " + "[" * 20_000, "extra = { x = 1979-05-27 }", "extra = { x = nan }",
    ],
    ids=range(5),
)  # fmt: skip
def test_no_config_ends_in_a_traceback(text, tmp_path, capsys):
    """#194"""
    (tmp_path / "c.toml").write_text(text)
    words = ["embed", "hi", "-p", "ollama", "-m", "m", "--config", str(tmp_path / "c.toml")]
    assert run(words, Reporter()) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("way", ["base_url", "url", "--base-url", "--url"])
def test_an_address_beside_the_model_in_this_process(way, tmp_path, capfd):
    """#195: in the config it is for other providers; typed, it is a contradiction."""
    config = tmp_path / "c.toml"
    config.write_text("" if way.startswith("--") else f'{way} = "http://127.0.0.1:9/v1"\n')
    words = ["embed", "hi", "-p", "local", "--config", str(config)]
    words += [way, "http://127.0.0.1:9/v1"] if way.startswith("--") else []
    code = run(words, Reporter())
    said = capfd.readouterr()
    assert (code, bool(said.out)) == ((2, False) if way.startswith("--") else (0, True))
    assert ("-p custom" in said.err) == way.startswith("--")


@pytest.mark.parametrize("words", [["-d", "300"], ["-m", "other"], ["--extra", "task=x"]])
def test_an_error_of_the_model_in_this_process_makes_nothing_up(words, capsys):
    """#195: nothing was sent anywhere, and no log knows a request id."""
    assert run(["embed", "hi", "-p", "local", *words], Reporter()) in (3, 5)
    said = capsys.readouterr().err
    assert said and not any(made_up in said for made_up in ("tovec.invalid", "http", "req_"))


@pytest.mark.parametrize(
    ("status", "code"), [(b"503 Unavailable", 4), (b"504 Timeout", 4), (b"407 Auth", 5)]
)
def test_a_proxys_outage_is_for_later_and_its_refusal_for_a_person(
    status, code, monkeypatch, capsys
):
    """#196: seen from the command, whose exit code cron and systemd act on."""

    def proxy(guest):
        guest.recv(4096)
        guest.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")

    with listening(proxy) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:canary@127.0.0.1:{port}")
        words = ["embed", "hi", "--base-url", "https://endpoint.invalid/v1", "-m", "m"]
        assert run([*words, "--max-retries", "0"], Reporter()) == code
    said = capsys.readouterr().err
    assert f"the proxy http://127.0.0.1:{port} answers {status[:3].decode()}" in said
    assert "HTTPS_PROXY" in said and "canary" not in said


@pytest.mark.parametrize(
    ("given", "advice"),
    [({}, "export LITELLM_PROXY_API_KEY="), ({"LITELLM_PROXY_API_KEY": KEY}, "check the key in")],
)
def test_a_refused_key_names_the_variable_that_this_address_reads(
    given, advice, tmp_path, monkeypatch, capsys
):
    """#191: `-p litellm` could send no key, and the hint led to a table without a variable."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with Loopback(key="sk-right") as server:
        (tmp_path / "c.toml").write_text(f'[providers.litellm]\nbase_url = "{server.base_url}"\n')
        words = ["embed", "hi", "-p", "litellm", "-m", "m", "--config", str(tmp_path / "c.toml")]
        assert run(words, Reporter()) == 5
    said = capsys.readouterr().err
    assert advice in said and "LITELLM_PROXY_API_KEY" in said


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "m\udcff"], ["-m", "m", "--user", "\udcff"], ["-m", "m", "--extra", "x=\udcff"],
        ["-m", "m", "--extra", "\udcff=1"], ["-m", "m", "-p", "\udcff"],
        ["-m", "m", "--base-url", "http://h\udcff/v1"],
    ],
    ids=range(6),
)  # fmt: skip
def test_arguments_that_are_not_utf8_are_refused_in_words(words, capsys):
    """#194: as a shell passes bytes that are no text."""
    assert run(["embed", "hi", "-p", "ollama", *words], Reporter()) == 2
    said = capsys.readouterr().err
    assert said.isascii() and "Traceback" not in said
