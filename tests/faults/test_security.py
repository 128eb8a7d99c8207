"""Keys, configuration, planted links, terminals (167 to 190)."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Run
from tests.faults.injection import TEXTS, Job, failed, wait_for
from tests.servers.certificates import made, serving
from tests.servers.loopback import Fault, Loopback

KEY = "sk-canary+0123/456789=abcdef"


def forms(key: str) -> list[bytes]:
    """Give the forms in which a key may have gone somewhere."""
    raw = key.encode()
    return [raw, base64.b64encode(raw), urllib.parse.quote(key, safe="").encode(),
            raw.hex().encode(), json.dumps(key)[1:-1].encode()]  # fmt: skip


def nowhere(place: Path, *said: bytes) -> None:
    """See that the key is in nothing that was said, nor in any file below a place."""
    files = [path.read_bytes() for path in place.rglob("*") if path.is_file()]
    everything = b"\n".join([*said, *files])
    for form in forms(KEY):
        assert form not in everything


# Keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["--api-key", KEY], [f"--api-key={KEY}"], ["--key", KEY], ["-k", KEY]]
)
def test_there_is_no_option_for_a_key_and_what_was_typed_is_not_repeated(
    tovec: Run, words: list[str]
) -> None:
    """#168"""
    done = tovec("embed", "-p", "local", "hello", *words)
    failed(done, 2, "there is no option")
    assert b"canary" not in done.stderr + done.stdout


PLACES = {
    "sent": "import tovec.endpoint.http_transport as m; m.HttpxTransport.send = crash",
    "decoded": "import tovec.endpoint.wire as m; m.decode = crash",
    "stored": "import tovec.store.log as m; m.Log.append = crash",
    "prepared": "import tovec.pipeline.prepare as m; m.Preparation.__call__ = crash",
    "resolved": "import tovec.endpoint.address as m; m.refuse_plain_http = crash",
    "governed": "import tovec.endpoint.governor as m; m.Governor.succeeded = crash",
    "written": "import tovec.formats.jsonl as m; m.JsonlWriter.write = crash",
    "published": "import tovec.store.durable as m; m.OutputFile.publish = crash",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_anywhere_shows_the_key_in_no_form(job: Job, place: str) -> None:
    """#170"""
    config = job.place / "config.toml"
    config.write_text(config.read_text() + 'key_env = "MINE_API_KEY"\n')
    spelled = " ".join(one.decode() for one in forms(KEY))
    code = (
        f"def crash(*_args, **_more): raise RuntimeError({spelled!r})\n"
        f"{PLACES[place]}\n"
        "from tovec.__main__ import main; main()"
    )
    options = ("-vv",) if len(place) % 2 else ("--log-format", "json")
    words = job.command(*options)[3:]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=job.place, env={**os.environ, "MINE_API_KEY": KEY},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 70, done.stderr
    assert b"RuntimeError: ***" in done.stderr
    nowhere(job.place, done.stderr, done.stdout)


def test_a_key_that_a_server_repeats_in_every_place_is_blotted_out(job: Job) -> None:
    """#171: header, model, message, code, on all levels of verbosity."""
    config = job.place / "config.toml"
    config.write_text(config.read_text() + 'key_env = "MINE_API_KEY"\n')
    body = {"error": {"message": f"bad key {KEY}", "type": KEY, "code": KEY, "param": KEY}}
    row = {"index": 0, "embedding": [1.0, 2.0]}
    echo = {"data": [row], "model": f"m-{KEY}", "usage": {"prompt_tokens": 1}}
    headers = {"x-request-id": KEY, "x-ratelimit-limit-requests": KEY}
    job.write(["one"])
    faults = [
        Fault("body", body=echo, headers=headers),
        Fault("status", status=401, body=body, headers=headers),
        Fault("status", status=307, headers={"location": f"http://127.0.0.2/{KEY}"}),
    ]
    for i, fault in enumerate(faults):
        job.server.faults = [fault]
        options = ("--job-dir", f"job-{i}", "-vv", "--keep-job", "--stats", f"s{i}", "--force")
        done = job.run(*options, env={**os.environ, "MINE_API_KEY": KEY})
        assert done.returncode == (0 if i == 0 else 5), done.stderr
        nowhere(job.place, done.stderr, done.stdout)


def test_a_redirect_sends_neither_key_nor_text_elsewhere_whatever_the_keys_header(
    job: Job, server: Loopback
) -> None:
    """#174"""
    config = job.place / "config.toml"
    before = config.read_text() + 'key_env = "MINE_API_KEY"\n'
    with Loopback() as other:
        target = f"{other.base_url}/embeddings"
        for status, header in ((301, "Authorization"), (307, "api-key"), (308, "x-api-key")):
            config.write_text(f'{before}key_header = "{header}"\n')
            server.faults = [Fault("status", status=status, headers={"location": target})]
            done = job.run(env={**os.environ, "MINE_API_KEY": KEY})
            failed(done, 5, f"a redirect to http://127.0.0.1:{other.port}")
            assert not other.ledger.entries and not other.ledger.connections


def test_a_process_that_knows_a_key_leaves_no_core_file(job: Job) -> None:
    """#170"""
    config = job.place / "config.toml"
    config.write_text(config.read_text() + 'key_env = "MINE_API_KEY"\n')
    job.server.latency = 600
    child = job.start(env={**os.environ, "MINE_API_KEY": KEY})
    wait_for(lambda: job.server.ledger.under_way)
    limits = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
    child.kill()
    child.communicate()
    (core,) = [line for line in limits if line.startswith("Max core file size")]
    assert core.split()[4] == "0"


def test_what_stands_in_key_command_is_never_read_by_a_shell(job: Job) -> None:
    """#170: its words are a program and its arguments, as they are."""
    config = job.place / "config.toml"
    words = json.dumps(["printf", "%s", f"{KEY};touch$IFS$(id>planted)`id>planted`"])
    config.write_text(config.read_text() + f"key_command = {words}\n")
    job.server.faults = [Fault("status", status=401)]
    failed(job.run(), 5)
    sent = job.server.ledger.entries[0].headers["authorization"]
    assert sent == f"Bearer {json.loads(words)[2]}"
    assert not (job.place / "planted").exists()


def test_nothing_turns_the_check_of_certificates_off(tovec: Run, tmp_path: Path) -> None:
    """#5: what other clients take for "do not check" is no option and no setting here."""
    off = {"PYTHONHTTPSVERIFY": "0", "SSL_NO_VERIFY": "1", "NODE_TLS_REJECT_UNAUTHORIZED": "0"}
    empty = dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"), "")
    (tmp_path / "c.toml").write_text("verify = false\n")
    with Loopback(dimensions=4, certificate=serving(made(tmp_path))) as server:
        address = ("embed", "hi", "--base-url", server.base_url, "-m", "m")
        for env in (off, empty):
            failed(tovec(*address, env=env), 5, "certificate")
        for words in (("--insecure",), ("-k",), ("--config", tmp_path / "c.toml")):
            assert tovec(*address, *words).returncode == 2
        assert server.ledger.entries == []


class Pickled:
    """What would run a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch planted",)


def test_an_npy_file_with_pickled_objects_is_refused_unread(tovec: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([[Pickled()]], object), allow_pickle=True)
    done = tovec("similarity", "-p", "local", "hello", "--in", "evil.npy", cwd=tmp_path)
    failed(done, 6)
    assert not (tmp_path / "planted").exists()


# Configuration -----------------------------------------------------------------------------------


def test_no_config_is_read_from_the_current_directory(tovec: Run, tmp_path: Path) -> None:
    """#177: nor from a `~` in it, where a user has no home."""
    for name in ("config.toml", "tovec.toml", ".tovec.toml", "tovec/config.toml",
                 "~/.config/tovec/config.toml"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('model = "planted"\nbase_url = "http://127.0.0.1:9"\n')
    for env in ({}, {"HOME": "", "XDG_CONFIG_HOME": ""}, {"HOME": "~", "XDG_CONFIG_HOME": "."}):
        done = tovec("config", "--format", "json", "-p", "local", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert b"planted" not in done.stdout


def test_what_makes_other_vectors_is_refused_by_a_jobs_directory(job: Job) -> None:
    """#178"""
    assert job.run("--keep-job").returncode == 0
    asked = job.answered
    for change in ("-d 4", "-m other", "--extra task=x", "--base-url http://127.0.0.1:9/v1"):
        failed(job.run("--keep-job", *change.split()), 8, "of another job", "now it is")
    assert job.answered == asked


def test_what_makes_no_other_vectors_may_change_between_runs(job: Job) -> None:
    """#178"""
    assert job.run("--keep-job").returncode == 0
    options = "--timeout 5 --concurrency 3 --rpm 100000 --tpm 1000000 --max-retries 1"
    done = job.run("--keep-job", *options.split(), env={**os.environ, "TOVEC_API_KEY": KEY})
    assert done.returncode == 0, done.stderr
    assert job.answered == len(TEXTS) // 10


# Files that somebody has planted -----------------------------------------------------------------


def temporary(path: Path) -> Path:
    from tovec.store.durable import temporary_name

    return temporary_name(path)


@pytest.mark.parametrize("planted", ["temporary", "lock", "log", "job.json.tmp", "reserve"])
def test_nothing_is_written_through_a_planted_link(job: Job, planted: str) -> None:
    """#179"""
    precious = job.place / "precious"
    precious.write_text("all of it")
    directory = job.log.parent
    directory.mkdir(mode=0o700)
    places = {"temporary": temporary(job.out), "log": job.log}
    places.get(planted, directory / planted).symlink_to(precious)
    done = job.run()
    assert precious.read_text() == "all of it"
    assert done.returncode in ((0,) if planted in ("job.json.tmp", "reserve") else (7, 8, 9))
    assert b"Traceback" not in done.stderr


def test_a_link_in_the_place_of_the_jobs_directory_of_another_is_refused(job: Job) -> None:
    """#179"""
    if os.geteuid() != 0:
        pytest.skip("only root can give files to somebody else")
    theirs = job.place / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 54321, 54321)
    job.log.parent.symlink_to("theirs")
    failed(job.run(), 7, "other users could write")
    assert os.listdir(theirs) == []


# What is missing ---------------------------------------------------------------------------------


def test_without_pyarrow_only_what_needs_it_fails_and_before_anything_is_asked(job: Job) -> None:
    """#181"""
    code = (
        "import sys; sys.modules['pyarrow'] = None; sys.modules['pyarrow.parquet'] = None;"
        "from tovec.__main__ import main; main()"
    )

    def run(name: str) -> subprocess.CompletedProcess[bytes]:
        words = job.command(output=name)[3:]
        return subprocess.run(
            [sys.executable, "-c", code, *words], cwd=job.place, capture_output=True, check=False
        )

    assert run("out.jsonl").returncode == 0
    job.right()
    asked = job.answered
    failed(run("out.parquet"), 2, "pyarrow", "pip install")
    assert job.answered == asked


# Terminal and output -----------------------------------------------------------------------------


def test_a_stderr_that_nobody_reads_holds_up_no_work(job: Job) -> None:
    """#185: full, slow, closed."""
    with open("/dev/full", "wb") as full:
        words = job.command("-vv")
        done = subprocess.run(words, cwd=job.place, stderr=full, timeout=60, check=False)
    assert done.returncode == 0
    job.right()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        job.command("-vv", "--force"), cwd=job.place, stderr=write, timeout=60, check=False
    )
    os.close(write)
    assert done.returncode == 0
    done = subprocess.run(
        ["sh", "-c", '"$@" 2>&-', "sh", *job.command("-vv", "--force", "--progress", "lines")],
        cwd=job.place, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0


def test_a_bar_on_a_terminal_that_is_gone_holds_up_no_work(job: Job) -> None:
    """#185: the window is closed while the bar is drawn."""
    job.server.latency = 0.05
    near, far = pty.openpty()
    child = job.start("--concurrency", "1", "--progress", "bar", stderr=far)
    os.close(far)
    wait_for(lambda: job.answered >= 1)
    os.close(near)
    child.communicate(timeout=30)
    assert child.returncode == 0
    job.right()


def test_data_alone_is_on_stdout_in_order_and_a_failure_shows_in_the_exit_code(job: Job) -> None:
    """#186"""
    done = job.run("--job-dir", "job", "--progress", "lines", "-vv", output="-")
    assert done.returncode == 0
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == TEXTS
    assert b"tovec: " in done.stderr and b"tovec: " not in done.stdout
    job.server.faults = [Fault("status", status=401)]
    done = job.run("--job-dir", "other", output="-")
    assert (done.returncode, done.stdout) == (5, b"")


@pytest.mark.parametrize("command", ["embed", "batch"])
def test_npy_to_a_pipe_is_refused_before_anything_is_asked(job: Job, command: str) -> None:
    """#187"""
    words = job.command("--format", "npy", "--job-dir", "job", output="-")
    if command == "embed":
        words = [sys.executable, "-m", "tovec", "embed", "--format", "npy", "-f", str(job.rows)]
        words += ["--base-url", job.server.base_url, "-m", "m"]
    done = subprocess.run(words, cwd=job.place, capture_output=True, timeout=60, check=False)
    failed(done, 2, "npy needs a file", "-o OUT.npy")
    assert not job.server.ledger.entries


def test_parquet_to_a_pipe_is_whole(job: Job) -> None:
    """#187"""
    import io

    import pyarrow.parquet as pq

    done = job.run("--format", "parquet", "--job-dir", "job", output="-")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(io.BytesIO(done.stdout))["text"].to_pylist() == TEXTS


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault("status", status=401), 5), (Fault("status", status=429,
      headers={"retry-after": "86400"}), 4), (None, 6), (Fault("close"), 4)],
)  # fmt: skip
def test_every_line_of_a_failing_run_is_json_and_the_last_says_what_to_do(
    job: Job, fault: Fault | None, code: int
) -> None:
    """#189"""
    if fault is None:
        job.rows.write_bytes(b'{"text": 5}\n')
    else:
        job.server.faults = [fault]
    options = ("--log-format", "json", "-vv", "--max-retries", "0", "--on-error", "stop")
    done = job.run(*options)
    assert done.returncode == code, done.stderr
    last = [json.loads(line) for line in done.stderr.splitlines()][-1]
    assert (last["level"], last["code"]) == ("error", code)
    assert {"name", "message", "where", "hint"} <= set(last)
