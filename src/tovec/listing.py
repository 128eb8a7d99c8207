"""What is known of models and providers, as rows to be shown."""

from __future__ import annotations

from collections.abc import Mapping

from tovec.endpoint import models as model_table
from tovec.endpoint import providers as provider_table
from tovec.endpoint.address import shown
from tovec.events import Observer
from tovec.pipeline.connect import Hide, connect
from tovec.settings import Settings

# What only programs are shown: where a row's facts are from, and what is to be known of them.
PROVIDER_DETAILS = ("unverified", "docs", "source", "note")
MODEL_DETAILS = ("verified", "source")


def providers(settings: Settings, environ: Mapping[str, str]) -> list[dict[str, object]]:
    """Return each provider with its key's variable and whether it is set, never its value."""
    return [
        {
            "provider": one.name,
            "key": one.key_env,
            "set": bool(environ.get(one.key_env)) if one.key_env else None,
            "model": one.default_model,
            "address": None if one.in_process or one.base_url is None else shown(one.base_url),
            "verified": one.verified,
            "unverified": list(one.unverified),
            "docs": one.docs,
            "source": one.source,
            "note": one.note,
        }
        for one in provider_table.load(settings.providers).values()
    ]


def models(
    settings: Settings, environ: Mapping[str, str], remote: bool, observer: Observer, hide: Hide
) -> list[dict[str, object]]:
    """Return the known models of the chosen provider, or of all.

    With `remote` they are those of the endpoint that is asked, and each says whether the
    endpoint's own list has it: no other provider's models are among them.
    """
    if not remote:
        name = settings.provider
        known = model_table.load().values()
        return [_row(one) for one in known if name is None or name in one.providers]
    provider, served = _remote(settings, environ, observer, hide)
    ids = [one.id for one in model_table.load().values() if provider in one.providers]
    return [
        {**_row(model_table.find(name, provider)), "served": name in served}
        for name in dict.fromkeys([*ids, *served])
    ]


def _row(model: model_table.Model) -> dict[str, object]:
    return {
        "id": model.id,
        "dimensions": model.dimensions,
        "input": model.item_tokens,
        "usd_per_million": model.price,
        "pages_per_dollar": model.pages_per_dollar and round(model.pages_per_dollar),
        "mteb": model.mteb,
        "matryoshka": model.matryoshka,
        "providers": list(model.providers),
        "verified": model.verified,
        "source": model.source,
    }


def _remote(
    settings: Settings, environ: Mapping[str, str], observer: Observer, hide: Hide
) -> tuple[str, list[str]]:
    """Return the provider that was asked, and the ids that its `GET /v1/models` lists."""
    # A model need not be chosen for this.
    named = settings if settings.model else settings._replace(model="any")
    with connect(named, environ, observer, hide) as connection:
        listed = connection.run(connection.client.models())
    return connection.provider.name, [str(item["id"]) for item in listed if "id" in item]
