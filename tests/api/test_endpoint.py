"""The endpoint's address and fields, checked before anything is sent (faults 172, 173, 176)."""

from __future__ import annotations

from typing import Any

import pytest

from tovec.api.endpoint import Endpoint, refuse_plain_http, resolve, shown
from tovec.api.providers import Provider
from tovec.errors import PersonError, UsageError
from tovec.settings import Settings

PROVIDER = Provider(name="p", base_url="https://api.example.com/v1")


def resolved(**settings: Any) -> Endpoint:
    return resolve(PROVIDER, Settings(**{"model": "m", **settings}))


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
    assert shown("https://u:canary@h:1/v1?key=canary") == "https://h:1/v1"


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "m\r\nx: y"},
        {"user": "u\nv"},
        {"extra": {"input_type": "a\r\nb"}},
        {"extra": {"a\nb": 1}},
        {"extra": {"input": ["other"]}},
        {"extra": {"model": "other"}},
        {"encoding_format": "hex"},
        {"model": None},
    ],
)
def test_fields_that_break_a_request_are_refused(settings: dict[str, Any]) -> None:
    """#176"""
    with pytest.raises(UsageError):
        resolved(**settings)


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
