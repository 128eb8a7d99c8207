"""From settings to a client: provider, model, key, limits, and what carries the calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tovec import __version__
from tovec.endpoint import address as endpoints
from tovec.endpoint import credentials, models, providers
from tovec.endpoint.admission import MAX_WAIT_SECONDS, Admission, ProcessAdmission
from tovec.endpoint.client import Client
from tovec.endpoint.concurrency import DEFAULT_CONCURRENCY
from tovec.endpoint.dialect import Known
from tovec.endpoint.governor import Governor
from tovec.endpoint.transport import Transport
from tovec.errors import UsageError
from tovec.events import Note, Observer, ignore
from tovec.formats.protocols import VectorMeta
from tovec.pipeline.dispatch import Dispatcher
from tovec.settings import Settings, named_by

if TYPE_CHECKING:
    from tovec.local.local_model import LocalModel
    from tovec.pipeline.background import BackgroundLoop

T = TypeVar("T")

CL100K = "cl100k_base"

Hide = Callable[[Callable[[str], str]], None]


class Connection:
    """A client, what divides requests for it, and what is known of the model that it asks.

    It is closed by its `close`, or at the end of a `with`.
    """

    def __init__(
        self,
        client: Client,
        model: models.Model,
        concurrency: int,
        *,
        has_key: bool,
        observer: Observer = ignore,
        folder: LocalFolder | None = None,
    ) -> None:
        self.client, self.model = client, model
        self.provider = client.endpoint.provider
        self.concurrency, self.has_key = concurrency, has_key
        self.dispatcher = Dispatcher(client, observer)
        self.takes_signals = True  # whether a signal ends a run in good order; not in a library
        self._background: BackgroundLoop | None = None
        self._folder = folder

    @property
    def background(self) -> BackgroundLoop:
        """Return the event loop for requests over a network; it runs until the end."""
        if self._background is None:
            from tovec.pipeline.background import BackgroundLoop

            self._background = BackgroundLoop()
        return self._background

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine of the client's returns."""
        return complete(work) if self.provider.in_process else self.background.run(work)

    def close(self) -> None:
        """Close the connections, and end what is under way."""
        if self._background is not None:
            self._background.close(self.client.close())

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def count_text(self) -> Callable[[str], int] | None:
        """Return what counts a text's tokens exactly; None where the tokenizer is not known."""
        if self._folder is not None:
            return self._folder.count
        if self.model.tokenizer != CL100K:
            return None
        from tovec.text import tokens

        return tokens.count

    @property
    def count_texts(self) -> Callable[[list[str]], list[int]] | None:
        """Return what counts many texts' tokens exactly; None where the tokenizer is not known."""
        if self._folder is not None:
            return self._folder.count_many
        if self.model.tokenizer != CL100K:
            return None
        from tovec.text import tokens

        return tokens.count_batch

    def meta(self, dtype: str) -> VectorMeta:
        """Return what an output says of its vectors."""
        return VectorMeta(
            model=self.client.endpoint.model,
            provider=self.provider.name,
            dimensions=self.dimensions,
            dtype=dtype,
            tool=f"tovec {__version__}",
        )

    @property
    def dimensions(self) -> int | None:
        """Return the dimensions that vectors will have, as far as that is known beforehand."""
        return (
            self.client.dialect.dimensions
            or self.client.endpoint.dimensions
            or self.model.dimensions
        )


def connect(
    settings: Settings,
    environ: Mapping[str, str],
    observer: Observer = ignore,
    hide: Hide = lambda _blot: None,
    around: Callable[[Transport], Transport] = lambda transport: transport,
    *,
    will_ask: bool = True,
) -> Connection:
    """Return the connection that the settings describe; nothing is sent yet.

    `hide` is told how to blot the key out, before anything can fail with the key at hand;
    `around` may put another transport around the one that carries the calls. Without `will_ask`
    no key is looked for.
    Raises UsageError and PersonError for what cannot work.
    """
    address = settings.base_url or settings.url
    table = providers.load(settings.providers)
    if settings.model == "local" and settings.provider is None and address is None:
        raise UsageError("local is a provider, not a model", hint="-p local is the embedded model")
    provider = providers.choose(settings.provider, address, environ, table)
    folder = _open_folder(provider, settings, observer)
    if folder is not None:
        settings = folder.settings
    endpoint = endpoints.resolve(provider, settings)
    source = credentials.key_source(provider, endpoint.url, environ)
    endpoint = endpoint._replace(key_advice=source.advice)
    key = credentials.find_key(provider, endpoint.url, environ, table) if will_ask else None
    if key is not None:
        hide(key.blot)
    endpoints.refuse_plain_http(endpoint.url, has_key=key is not None)
    model = models.find(endpoint.model, provider.name) if folder is None else folder.facts
    known = [n for n in (provider.limits.item_tokens, model.item_tokens) if n is not None]
    if known:
        limits = provider.limits._replace(item_tokens=min(known))
        endpoint = endpoint._replace(provider=provider._replace(limits=limits))
    concurrency = settings.concurrency or DEFAULT_CONCURRENCY
    client = Client(
        endpoint,
        around(_transport(endpoint, concurrency, folder)),
        Governor(
            concurrency=concurrency,
            rpm=settings.rpm,
            tpm=settings.tpm,
            give_up_after=settings.give_up_after,
            admission=_admission(endpoint, key, settings, environ),
        ),
        key,
        observer=observer,
        timeout=settings.timeout,
        max_retries=settings.max_retries,
        known=Known(
            model.dimensions if provider.name in model.providers else None,
            is_sure=address is None and "base_url" not in settings.providers.get(provider.name, {}),
            may_be_cut=bool(model.matryoshka),
        ),
    )
    return Connection(
        client, model, concurrency, has_key=key is not None, observer=observer, folder=folder
    )


class LocalFolder(NamedTuple):
    """A model that -m names by its folder, and the settings with which it is asked."""

    model: LocalModel
    settings: Settings
    facts: models.Model

    def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return self.count_many([text])[0]

    def count_many(self, texts: list[str]) -> list[int]:
        """Return the tokens of each text."""
        return self.model.count(texts, self.settings.prompt)


def _open_folder(
    provider: providers.Provider, settings: Settings, observer: Observer
) -> LocalFolder | None:
    """Return the model whose folder is named, if the provider takes one.

    The request names it by an id that holds its digest, and by the prompt, so that vectors of two
    versions or two prompts never mix. Raises UsageError for a prompt that nothing would read.
    """
    if provider.name not in providers.FOLDER_PROVIDERS:
        if settings.prompt is not None:
            named, where = named_by(settings, "prompt")
            raise UsageError(
                f"{named} is for -p {' and -p '.join(providers.FOLDER_PROVIDERS)}, "
                f"not for {provider.name}",
                where=where,
                hint="--template 'query: {text}' puts words before each text; "
                "--extra input_type=query sends a field",
            )
        return None
    from tovec.local.open_model import open_model

    model = open_model(provider.name, settings.model or provider.default_model)
    if note := model.note:
        observer(Note(note))
    prompt = {} if settings.prompt is None else {"prompt": settings.prompt}
    settings = settings._replace(model=model.id, extra={**settings.extra, **prompt})
    facts = models.Model(
        model.id,
        (provider.name,),
        dimensions=model.dimensions,
        item_tokens=model.max_text_tokens(settings.prompt),
        price=0.0,
        matryoshka=True,
        source="the model's folder",
    )
    return LocalFolder(model, settings, facts)


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine that never suspends returns, without an event loop.

    To import asyncio takes 40 ms.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("an in-process request waited for something")


def _admission(
    endpoint: endpoints.Endpoint,
    key: credentials.Secret | None,
    settings: Settings,
    environ: Mapping[str, str],
) -> Admission:
    """Return what admits requests, shared with other processes that send the same key."""
    if key is None or endpoint.provider.in_process:
        return ProcessAdmission(settings.rpm, settings.tpm)
    from tovec.endpoint import shared_admission

    longest = MAX_WAIT_SECONDS if settings.give_up_after is None else settings.give_up_after
    return shared_admission.make_admission(
        endpoint, key, environ, settings.rpm, settings.tpm, longest
    )


def _transport(
    endpoint: endpoints.Endpoint, concurrency: int, folder: LocalFolder | None
) -> Transport:
    if endpoint.provider.in_process:
        from tovec.local.in_process import LocalTransport
        from tovec.local.request_body import ServedModel

        return LocalTransport(None if folder is None else ServedModel(folder.model))
    from tovec.endpoint.http_transport import HttpxTransport

    return HttpxTransport(endpoint.url, concurrency=concurrency)
