"""Token counting equals tiktoken on any text, from the shipped vocabulary alone."""

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.text import tokens

ASCII = st.text(st.characters(codec="ascii"), max_size=200)


@pytest.fixture(scope="module", autouse=True)
def _tiktoken_stays_unloaded_for_others():
    yield
    tokens._encoding.cache_clear()


def reference(text: str) -> list[int]:
    import tiktoken

    if not hasattr(reference, "encoding"):
        reference.encoding = tiktoken.Encoding(
            "reference",
            pat_str=tokens.PATTERN,
            mergeable_ranks=tokens._ranks(),
            special_tokens={"<|endoftext|>": 100257},
        )
    return reference.encoding.encode_ordinary(text)


def test_the_shipped_vocabulary_is_the_one_tiktoken_checks_for():
    digest = hashlib.sha256(tokens.VOCABULARY.read_bytes()).hexdigest()
    assert digest == "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def test_ranks_are_those_written_in_the_file():
    from tiktoken.load import load_tiktoken_bpe

    assert tokens._ranks() == load_tiktoken_bpe(str(tokens.VOCABULARY))
    assert len(tokens._ranks()) == tokens.VOCABULARY_SIZE


def test_the_pattern_is_tiktokens_own():
    import inspect

    import tiktoken_ext.openai_public as public

    assert tokens.PATTERN in inspect.getsource(public.cl100k_base)


@given(ASCII)
def test_short_ascii_texts_are_encoded_as_tiktoken_does(text):
    tokens._encoding.cache_clear()
    assert tokens._encode_short([text]) in ([reference(text)], None)


@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_texts_are_encoded_as_tiktoken_does(texts):
    assert tokens.encode_batch(texts) == [reference(text) for text in texts]
    assert tokens.count_batch(texts) == [len(reference(text)) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "<|endoftext|>",
        "it's IT'S don't",
        "a\r\n\r\nb  c   ",
        "  \n ",
        "1234567",
        "x" * 3000,
        "tab\tand\x1cseparator\x85\u2028",
        "naïve café 東京 🙂",
        "x" * 40 + " " + "zq" * 30,
    ],
)
def test_awkward_texts_are_encoded_as_tiktoken_does(text):
    tokens._encoding.cache_clear()
    assert tokens.encode(text) == reference(text)


@given(st.text(max_size=300))
def test_a_text_never_has_more_tokens_than_utf8_bytes(text):
    assert tokens.count(text) <= len(text.encode())


@given(st.text(max_size=100))
def test_decoding_gives_the_bytes_back(text):
    assert tokens.decode_bytes(tokens.encode(text)) == text.encode()


def test_a_short_ascii_text_does_not_load_tiktoken():
    code = (
        "import sys; from tovec.text import tokens;"
        "assert tokens.encode('hello world') == [15339, 1917];"
        "assert 'tiktoken' not in sys.modules and 'regex' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
