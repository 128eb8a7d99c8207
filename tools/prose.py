"""What man pages and the reference say beyond the command tree, once.

Text in backquotes is literal: bold in a man page, code in the reference.
"""

from __future__ import annotations

from typing import NamedTuple

EXIT_STATUS = {
    "0": "Done.",
    "1": "The answer is no: `--min` of `tovec similarity` was not met.",
    "2": "The command line or the config file asks for something impossible.",
    "3": "Finished, but some rows were left out; stderr says how many and why.",
    "4": "The endpoint or the network failed after all retries: run again later.",
    "5": "Needs a person: key, permission, billing, quota, cost limit, TLS trust, address, model.",
    "6": "The input cannot be read as what it is said to be.",
    "7": "A local disk or file refused, or the output exists.",
    "8": "The job directory belongs to another job, or is damaged.",
    "9": "Another run holds the job.",
    "70": "A bug in tovec.",
    "129, 130, 143": "Stopped by SIGHUP, SIGINT (Ctrl-C) or SIGTERM.",
    "141": "The reader of standard output went away.",
}

ENVIRONMENT = {
    "OPENAI_API_KEY": "The key for OpenAI, and the first reason to choose that provider. "
    "`tovec models --providers` lists the variables of the others.",
    "TOVEC_API_KEY": "The key for an address that is not the provider's own: one given by "
    "`--base-url`, `--url` or the top level of the config file. A provider's key never goes there.",
    "TOVEC_PROVIDER": "The provider, where `-p` does not name one.",
    "TOVEC_CONFIG": "The config file, where `--config` does not name one.",
    "XDG_CONFIG_HOME": "Where config files belong, instead of `~/.config`.",
    "XDG_RUNTIME_DIR": "Where runs that send the same key share what they know of its rate limits, "
    "instead of `/tmp/tovec-UID`.",
    "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "The proxy that requests go through; "
    "this machine's own addresses are asked directly.",
    "SSL_CERT_FILE, SSL_CERT_DIR": "Certificates to trust instead of the system's: a file in PEM "
    "form, a directory of hashed names.",
    "NO_COLOR, FORCE_COLOR": "No bold type in help, or bold type even where stdout is no terminal; "
    "`--color` wins over both.",
    "COLUMNS": "The width that help and the short view are set to.",
}

FILES = {
    "~/.config/tovec/config.toml": "Settings, and providers of your own: see `tovec-config`(5).",
}

# What a field of the config means, where the option of the same name does not say it.
CONFIG = {
    "extra": 'Further fields of each request, as a table: `extra = { input_type = "passage" }`.',
    "providers": "Providers of your own, or other facts about a known one, each a table "
    "`[providers.NAME]` with the fields below.",
}

PROVIDER = {
    "base_url": "The address of the API; `path` is added.",
    "path": "What follows `base_url` for embeddings (`/embeddings`).",
    "models_path": 'What follows `base_url` for the models (`/models`); "" where there is no list.',
    "key_env": "The environment variable that holds the key.",
    "key_command": "A command and its arguments, as a list; what it prints is the key. A config "
    "file that has one must be writable by its owner alone.",
    "key_file": "A file that holds the key; nobody else may be allowed to read it (mode 0600).",
    "key_hosts": "Hosts that the key may go to over https where the user gives the address; "
    "`.x.example` is any host below x.example. Otherwise a key goes to the scheme, host and port "
    "of `base_url` only.",
    "key_required": "Whether a call without a key is an error. For a provider of your own: when "
    "one of the three fields above is given.",
    "key_header": "The header that carries the key (`Authorization`).",
    "key_prefix": "What stands before the key in it (`Bearer `).",
    "by_key": "Whether the key in the environment is reason enough to choose this provider (true).",
    "default_model": "The model, where none is named.",
    "limits": "What one request may hold, as a table; see below.",
    "base64": "Whether `encoding_format=base64` is understood; unset, it is tried.",
    "encoding_field": 'What the endpoint calls `encoding_format`; "" where it must not be sent.',
    "dimensions_field": 'What the endpoint calls `dimensions`; "" where it cannot be asked for.',
    "query": "What is added to the address after a question mark, as a table of strings.",
    "docs": "The page a user would read.",
    "source": "Where these facts were seen.",
    "verified": "Whether somebody has checked them.",
    "unverified": "The fields that are a guess, as a list of names.",
    "note": "A habit of this endpoint that a user should know.",
}

LIMITS = {
    "items": "Inputs a request (2048).",
    "tokens": "Tokens a request, summed over its inputs (300000).",
    "item_tokens": "Tokens of one input (8192).",
    "body_bytes": "Bytes of a request's body (no limit).",
}

CONFIG_EXAMPLE = """\
provider = "mine"
timeout = 30

[providers.mine]
base_url = "https://embeddings.example/v1"
key_command = ["pass", "show", "embeddings"]
default_model = "my-model"
dimensions_field = "output_dimension"
limits = { items = 128, tokens = 16384 }

[providers.openai]               # lay a fact over a known provider
key_file = "~/.secrets/openai"
"""


class Page(NamedTuple):
    """What a command's page says beyond its help."""

    description: tuple[str, ...] = ()
    see_also: tuple[str, ...] = ()  # pages by their name: "jq.1"


PAGES = {
    "tovec": Page(
        (
            "Data goes to standard output and everything else to standard error, so that every "
            "command can stand in a pipe. `-` is standard input or output, `--` ends the options.",
            "Settings come from options, then the environment, then the config file "
            "(`tovec-config`(5)). The provider is the one named by `-p`, by TOVEC_PROVIDER or in "
            "the config file; else the one whose key is set in the environment, OpenAI's first. "
            "There is no silent choice among several keys, and no falling back to another model: "
            "the vectors of two models must not mix.",
            "API keys come from the environment, a command or a file that nobody else may read; "
            "never from an option, and they stand in no log, error or output.",
        ),
        ("curl.1", "jq.1"),
    ),
    "tovec embed": Page(
        (
            "Each line of the input is a text, or a row with a field `text` where the file is "
            "JSONL. A row passes through unchanged with `embedding` added; a plain line becomes "
            "`index`, `text` and `embedding`. Rows come out in the order in which they came in. "
            "Compressed files (gzip, zstd) are opened as they are.",
            "Blank lines are skipped and counted; an empty text is left out and counted (exit 3); "
            "a row that cannot be read stops the run with its file and line (exit 6).",
            "A request goes out when it is full, or when the input has paused for 50 ms, so it "
            "works under `tail -f`. On a terminal, without `-o`, a short view is shown instead of "
            "whole vectors. An output file appears whole or not at all.",
        ),
        ("jq.1", "duckdb.1"),
    ),
    "tovec models": Page(
        (
            "Prices are in USD per million tokens, and a page is 800 tokens. Prices change: those "
            "listed are the ones their makers published when this version was made.",
        ),
    ),
    "tovec config": Page(
        (
            "`check` goes step by step (settings, name, connection, TLS, key, model, dimensions, "
            "latency, limits) and stops at the first that fails, with what to do about it.",
        ),
    ),
    "tovec serve": Page(
        (
            "Answers `POST /v1/embeddings`, `POST /api/v3/inference/embeddings` and "
            "`GET /v1/models`, with the same shapes and errors as the services of this API. "
            "Needs the extra `serve`: `pip install 'tovec[serve]'`.",
        ),
        ("curl.1",),
    ),
}
