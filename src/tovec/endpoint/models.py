"""The models that tovec knows something of: a data file, `models.toml`, with its sources."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tovec import suggest

TABLE = Path(__file__).parent / "models.toml"
PAGE_TOKENS = 800  # a page, as OpenAI's embeddings guide counts it


class Model(NamedTuple):
    """One model's facts; None is "not known". `price` is USD per million tokens."""

    id: str
    providers: tuple[str, ...] = ()  # the price is the first one's
    dimensions: int | None = None  # of a vector when none are asked for
    item_tokens: int | None = None
    tokenizer: str | None = None
    price: float | None = None
    mteb: float | None = None
    matryoshka: bool | None = None  # whether vectors may be cut and normalised again
    source: str = ""
    verified: bool = False

    @property
    def pages_per_dollar(self) -> float | None:
        """Return how many pages of 800 tokens a dollar pays for."""
        return 1e6 / self.price / PAGE_TOKENS if self.price else None


def load() -> dict[str, Model]:
    """Return the known models by id."""
    import tomllib

    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {
        name: Model(name, providers=tuple(row.pop("providers")), **row)
        for name, row in rows.items()
    }


def find(name: str, provider: str | None = None) -> Model:
    """Return what is known of a model; of an unknown one, nothing but its id.

    With a `provider`, the price is only given where it is that provider's own.
    """
    model = load().get(name) or Model(name)
    if provider is None or model.providers[:1] == (provider,):
        return model
    return model._replace(price=None)


def nearest(name: str) -> str:
    """Return the known model that `name` may be a slip of; "" where none is near enough."""
    known = load()
    return "" if name in known else suggest.nearest(name, known)
