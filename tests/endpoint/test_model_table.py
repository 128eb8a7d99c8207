"""The model table: well formed, with the published figures, and never another one's price."""

import pytest

from tovec.endpoint import models, providers
from tovec.local.model import DIMENSIONS, MODEL_ID

TABLE = models.load()


@pytest.mark.parametrize(
    ("name", "dimensions", "price", "mteb", "pages"),
    [
        ("text-embedding-3-small", 1536, 0.02, 62.3, 62_500),
        ("text-embedding-3-large", 3072, 0.13, 64.6, 9_615),
        ("text-embedding-ada-002", 1536, 0.10, 61.0, 12_500),
    ],
)
def test_openais_models_have_the_published_figures(name, dimensions, price, mteb, pages):
    """seed 000: default lengths 1536 and 3072, pages per dollar, MTEB; seed 001: 8192 tokens."""
    model = models.find(name, "openai")
    assert (model.dimensions, model.price, model.mteb) == (dimensions, price, mteb)
    assert (model.item_tokens, model.tokenizer) == (8192, "cl100k_base")
    assert int(model.pages_per_dollar) == pages


def test_only_third_generation_models_can_be_cut():
    """seed 001: dimensions only in text-embedding-3 and later models."""
    assert TABLE["text-embedding-3-small"].matryoshka is True
    assert TABLE["text-embedding-3-large"].matryoshka is True
    assert TABLE["text-embedding-ada-002"].matryoshka is False


def test_the_models_that_the_documents_name_are_known_at_their_providers():
    """seeds 000, 002, 003 and 004 name them."""
    for name in ("text-embedding-3-small", "text-embedding-3-large"):
        assert {"openai", "aimlapi", "aivene"} <= set(TABLE[name].providers)
    assert TABLE["nugen-flash-embed"].providers == ("nugen",)


def test_the_embedded_models_row_says_what_the_model_is():
    model = models.find(MODEL_ID, "local")
    assert (model.dimensions, model.price, model.matryoshka) == (DIMENSIONS, 0.0, True)
    assert model.item_tokens == providers.load()["local"].limits.item_tokens
    assert model.pages_per_dollar is None  # it costs nothing


def test_a_price_is_given_for_the_provider_that_asks_it_only():
    assert models.find("text-embedding-3-small", "aivene").price is None
    assert models.find("text-embedding-3-small", "custom").price is None
    assert models.find("text-embedding-3-small", "custom").dimensions == 1536
    assert models.find("text-embedding-3-small").price == 0.02


def test_of_an_unknown_model_nothing_but_its_id_is_known():
    assert models.find("no-such-model", "openai") == models.Model("no-such-model")
    assert models.find("no-such-model").pages_per_dollar is None


def test_a_default_model_is_one_that_the_table_knows_at_that_provider():
    for provider in providers.load().values():
        if provider.default_model:
            assert provider.name in TABLE[provider.default_model].providers


@pytest.mark.parametrize("model", TABLE.values(), ids=TABLE)
def test_a_row_is_well_formed_and_says_where_it_is_from(model):
    assert model.source
    assert model.providers
    assert set(model.providers) <= providers.load().keys()
    for count in (model.dimensions, model.item_tokens):
        assert count is None or (type(count) is int and count > 0)
    assert model.tokenizer in (None, "cl100k_base")
    assert model.price is None or 0 <= model.price < 10
    assert model.mteb is None or 0 < model.mteb < 100
    assert model.matryoshka in (None, True, False)
    assert not (model.verified and model.price), "a price from elsewhere is never verified"
