"""The endpoint's address and fields, checked before anything is sent (faults 172, 173, 176)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tovec.endpoint.address import (
    Endpoint,
    identity,
    origin,
    refuse_plain_http,
    resolve,
    sent_fields,
    shown,
)
from tovec.endpoint.providers import Provider, load
from tovec.endpoint.wire import encode
from tovec.errors import PersonError, UsageError
from tovec.settings import Settings, from_table
from tovec.store.content_keys import identity_digest

PROVIDER = Provider(name="p", base_url="https://api.example.com/v1")


def resolved(**chosen: Any) -> Endpoint:
    return resolve(PROVIDER, Settings(**{"model": "m", **chosen}))


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/embeddings"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/embeddings"),
        ("  http://127.0.0.1:8080/v1 ", "http://127.0.0.1:8080/v1/embeddings"),
        ("http://127.0.0.1:8080/v1/embeddings", "http://127.0.0.1:8080/v1/embeddings"),
        ("http://127.0.0.1:8080/v1/embeddings/", "http://127.0.0.1:8080/v1/embeddings"),
        ("http://[::1]:8080", "http://[::1]:8080/embeddings"),
        ("http://h/v1?api-version=1", "http://h/v1/embeddings?api-version=1"),
    ],
)
def test_a_base_url_is_understood_as_people_write_it(base: str, url: str) -> None:
    """#172"""
    assert resolved(base_url=base).url == url


def test_a_whole_url_is_taken_as_it_is_and_has_no_list_of_models() -> None:
    found = resolved(url="http://127.0.0.1/api/v3/inference/embeddings")
    assert (found.url, found.models_url) == ("http://127.0.0.1/api/v3/inference/embeddings", None)


def test_the_providers_own_address_query_and_models_are_joined() -> None:
    azure = PROVIDER._replace(query={"api-version": "2024-10-21"})
    found = resolve(azure, Settings(model="m"))
    assert found.url == "https://api.example.com/v1/embeddings?api-version=2024-10-21"
    assert found.models_url is not None
    assert found.models_url.startswith("https://api.example.com/v1/models")


@pytest.mark.parametrize(
    "base",
    [
        "api.example.com/v1",
        "file:///etc/passwd",
        "ftp://h/v1",
        "http://",
        "http://h:99999/v1",
        "http://h/v1#part",
        "http://h/a b",
        "http://h\u0430/v1",
        "http://h/v1\r\nx: y",
        "http://[::1/v1",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(base: str) -> None:
    """#172"""
    with pytest.raises(UsageError):
        resolved(base_url=base)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    """#172"""
    with pytest.raises(UsageError) as caught:
        resolved(base_url="https://me:canary@h/v1")
    assert "canary" not in f"{caught.value.what}{caught.value.where}{caught.value.hint}"


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    assert shown("https://h:1/v1?key=canary") == "https://h:1/v1"
    assert "h:1" not in shown("https://u:canary@h:1/v1?key=canary"), "which part is the host?"


WELL_FORMED = "https://zqxj:k9vq7zxw2j@host.example:8443/v1"
MANGLED = [
    "user:pa55word@127.0.0.1/v1",  # without a scheme
    "https//carol:pa55word@host.example/v1",
    "https:carol:pa55word@host.example/v1",
    "htps://carol:pa55word@host.example/v1",
    "https://carol:pa55word/v1",  # without the @
    "https://carol:pa55/word@host.example/v1",
    "https://carol:12?pa55word@host.example/v1",
    "https://carol:12#pa55word@host.example/v1",
    "https://pa55word/carol@host.example/v1",
    "https://carol:pa55word@@host.example/v1",
    "https://[carol:pa55word@host.example/v1",
    "https://carol:pa55word%40host.example/v1",
    "https://carol:pa55word@/v1",
]


def said_of(url: str, name: str = "base_url") -> str:
    """Return all that a user can be told of an address, whether it is accepted or not."""
    words = [shown(url)]
    try:
        found = resolved(**{name: url})
        words += [shown(found.url), str(identity(found))]
    except UsageError as error:
        words += [error.what, error.where, error.hint]
    return "\n".join(words)


@pytest.mark.parametrize("url", MANGLED)
def test_a_password_is_not_shown_however_the_address_is_mistyped(url: str) -> None:
    """#192"""
    for name in ("base_url", "url"):
        assert "pa55word" not in said_of(url, name)
        assert "carol" not in said_of(url, name)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(WELL_FORMED)),
            st.sampled_from(["", *":/@?#\\[]% .\t\n\0é1", "://", "@@", "%40"]),
            st.integers(0, 3),
        ),
        max_size=4,
    )
)
def test_no_mangled_address_shows_a_part_of_its_user_or_password(
    edits: list[tuple[int, str, int]],
) -> None:
    """#192: characters put in, taken out or replaced anywhere, as long as there is an @ in it."""
    url = WELL_FORMED
    for place, put, removed in edits:
        url = url[:place] + put + url[place + removed :]
    assume("@" in url)
    secret = {one[i : i + 4] for one in ("zqxj", "k9vq7zxw2j") for i in range(len(one) - 3)}
    said = said_of(url).lower()
    assert not any(one in said for one in secret)


def test_an_origin_is_scheme_host_and_port() -> None:
    """#191"""
    same = ["https://h/v1", "https://h:443/x", "HTTPS://H/v1?a=b"]
    assert len({origin(url) for url in same}) == 1
    others = ["http://h/v1", "https://h:8443/v1", "https://h.example/v1", "https://h./v1"]
    assert len({origin(url) for url in (*same, *others)}) == 1 + len(others)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside),
    max_leaves=5,
)
likely = st.sampled_from(["m", "base64", "http://h/v1", 4, 1.5, 10**30, float("nan"), "\udcff", {}])
fields = st.sampled_from(sorted(set(Settings._fields) - {"origins", "provider", "providers"}))


@given(st.dictionaries(fields, likely | anything))
def test_whatever_a_config_holds_makes_a_request_or_a_usage_error(table: dict[str, Any]) -> None:
    """#194: no value gets as far as the JSON writer, and fails there."""
    try:
        found = resolve(PROVIDER, from_table({"model": "m", **table}, "c.toml"))
    except UsageError:
        return
    body = orjson.loads(encode(["hi"], sent_fields(found, found.encoding)))
    assert body["model"] == found.model and body["input"] == ["hi"]
    sent = {name: value for name, value in found.extra.items() if value is not None}
    assert {name: body[name] for name in sent} == sent


# What makes a vector ------------------------------------------------------------------------------

words = st.sampled_from(["a", "b", "c" * 250, "c" * 250 + "d"])
endpoints = st.builds(
    Endpoint,
    provider=st.builds(
        lambda encoding, dimensions: PROVIDER._replace(
            encoding_field=encoding, dimensions_field=dimensions
        ),
        st.sampled_from(["encoding_format", "embedding_type", None]),
        st.sampled_from(["dimensions", "output_dimension", None]),
    ),
    url=st.builds("https://h/{}?{}".format, words, words),
    models_url=st.none(),
    model=st.sampled_from(["m", "n"]),
    dimensions=st.sampled_from([None, 4, 8]),
    encoding=st.sampled_from([None, "base64", "float"]),
    user=st.sampled_from([None, "u", "v"]),
    extra=st.dictionaries(words, st.sampled_from([1, True, 1.0, "1", None, [1], {"a": 1}])),
    key_advice=st.just(""),
)


def digest(endpoint: Endpoint) -> bytes:
    return identity_digest(identity(endpoint))


@settings(max_examples=300)
@given(endpoints, endpoints, st.sampled_from([*Endpoint._fields, "all"]))
def test_two_endpoints_that_ask_differently_share_no_vector(
    one: Endpoint, two: Endpoint, field: str
) -> None:
    """#193: whole addresses and all fields that are sent but `user` are told apart."""
    if field != "all":  # only one of them differs
        two = one._replace(**{field: getattr(two, field)})

    def asked(endpoint: Endpoint) -> bytes:
        fields = sent_fields(endpoint._replace(user=None), endpoint.encoding)
        cut_here = endpoint.dimensions  # also where the endpoint is not asked for them
        return orjson.dumps([endpoint.url, fields, cut_here], option=orjson.OPT_SORT_KEYS)

    assert (digest(one) == digest(two)) == (asked(one) == asked(two))


def test_an_identity_holds_no_query_and_no_user() -> None:
    """#193: it is written into the job's directory, where a secret must not be."""
    found = resolved(url="https://h/v1?key=canary", user="canary", extra={"task": "x"})
    assert "canary" not in str(identity(found))
    assert identity(found)["endpoint"] == "https://h/v1"


def test_the_embedded_models_identity_is_that_of_earlier_versions() -> None:
    """#193: all that can differ stood in it, so that jobs begun by them are read."""
    local = resolve(load()["local"], Settings(dimensions=64))
    assert identity(local) == {
        "endpoint": "local", "model": "static-minilm-256", "dimensions": 64, "extra": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m\r\nx: y"},
        {"model": "m\udcff"},
        {"model": 5},
        {"model": ""},
        {"user": "\udcff"},
        {"extra": {"x": "\udcff"}},
        {"extra": {"\udcff": 1}},
        {"extra": {"x": 10**30}},
        {"extra": {"x": [{"y": -(10**30)}]}},
        {"extra": {"x": float("nan")}},
        {"extra": {"x": float("inf")}},
        {"dimensions": 10**30},
        {"dimensions": 0},
        {"base_url": "https://h/v1", "url": "https://h/v1", "dimensions": True},
        {"user": "u\nv"},
        {"extra": {"input_type": "a\r\nb"}},
        {"extra": {"a\nb": 1}},
        {"extra": {"input": ["other"]}},
        {"extra": {"model": "other"}},
        {"encoding_format": "hex"},
        {"model": None},
    ],
)
def test_fields_that_break_a_request_are_refused(fields: dict[str, Any]) -> None:
    """#176 #194"""
    with pytest.raises(UsageError):
        resolved(**fields)


@pytest.mark.parametrize("url", ["http://api.example.com/v1", "http://10.0.0.1/v1"])
def test_a_key_is_never_sent_in_the_clear_to_another_machine(url: str) -> None:
    """#173"""
    with pytest.raises(PersonError, match="unencrypted"):
        refuse_plain_http(url, has_key=True)
    refuse_plain_http(url, has_key=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1/v1", "http://localhost/v1", "http://[::1]/v1"])
def test_a_key_may_go_to_this_machine_in_the_clear(url: str) -> None:
    """#173"""
    refuse_plain_http(url, has_key=True)
