"""What is known of models and providers, as rows to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tovec.api import models as model_table
from tovec.api import providers as provider_table
from tovec.events import Observer
from tovec.jobs.connect import Hide, connect
from tovec.settings import Settings


def providers(settings: Settings, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Give each provider with its key's variable and whether it is set, never its value."""
    return [
        {
            "provider": one.name,
            "key": one.key_env,
            "set": bool(environ.get(one.key_env)) if one.key_env else None,
            "model": one.default_model,
            "address": None if one.in_process else one.base_url,
            "verified": one.verified,
        }
        for one in provider_table.load(settings.providers).values()
    ]


def models(
    settings: Settings, environ: Mapping[str, str], remote: bool, observer: Observer, hide: Hide
) -> list[dict[str, Any]]:
    """Give the known models of the chosen provider, or of all; `remote` adds the endpoint's own."""
    name = settings.provider
    rows = {
        one.id: _row(one)
        for one in model_table.load().values()
        if name is None or name in one.providers
    }
    if remote:
        for found in _remote(settings, environ, observer, hide):
            rows.setdefault(found, _row(model_table.Model(found)))
    return list(rows.values())


def _row(model: model_table.Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "dimensions": model.dimensions,
        "input": model.item_tokens,
        "usd_per_million": model.price,
        "pages_per_dollar": model.pages_per_dollar and round(model.pages_per_dollar),
        "mteb": model.mteb,
        "matryoshka": model.matryoshka,
        "providers": list(model.providers),
    }


def _remote(
    settings: Settings, environ: Mapping[str, str], observer: Observer, hide: Hide
) -> list[str]:
    """Give the ids that the endpoint's `GET /v1/models` lists."""
    import asyncio

    # A model need not be chosen for this.
    named = settings if settings.model else settings._replace(model="any")
    client = connect(named, environ, observer, hide).client

    async def ask() -> list[str]:
        try:
            return [str(item["id"]) for item in await client.models() if "id" in item]
        finally:
            await client.close()

    return asyncio.run(ask())
