"""Requests to vectors: the one place that retries, halves, negotiates and gives up.

Kinds of failure and their bounds follow the retry policy of the reliability notes, section (c):
surely unpaid ones are bounded by time alone, refusals by 8 attempts, ambiguous ones by 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tovec.api import headers, wire
from tovec.api.endpoint import Endpoint, shown
from tovec.api.errors import (
    Action,
    BadAnswer,
    Refusal,
    TransportFailure,
    classify,
    hint,
    request_id,
)
from tovec.api.governor import Governor
from tovec.api.interface import Call, Reply, Transport
from tovec.api.keys import Secret
from tovec.errors import LaterError, PersonError
from tovec.events import Answered, Note, Observer, Retried, Sent, Split, ignore
from tovec.records import Answer, Inputs, Limits, Request, Usage

AMBIGUOUS_ATTEMPTS = 4
REFUSED_ATTEMPTS = 8
START_ATTEMPTS = 3  # connections tried before anything has worked
MAX_WAIT = 600.0  # seconds a server may ask for; more is "run again later"
FIRST_REFUSED = 3  # single inputs refused before any success: it is the settings, not the inputs


class _Refused(Exception):  # noqa: N818 - control flow inside this module
    """A request that is not accepted as it is; smaller parts of it may be."""

    def __init__(self, reason: str, cause: str, refusal: Refusal | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.refusal = refusal


class _Attempts:
    """What one request has been through."""

    def __init__(self) -> None:
        self.sent = 0
        self.ambiguous = 0
        self.refused = 0
        self.throttled = 0
        self.stale = False
        self.last: object = None
        self.equal = 0

    def same_again(self, fingerprint: object) -> bool:
        """Count equal failures in a row; say whether this was at least the second."""
        self.equal = self.equal + 1 if fingerprint == self.last else 1
        self.last = fingerprint
        return self.equal >= 2


class Client:
    """One endpoint, as a function from requests to answers.

    `limits` is what the endpoint is known to take in one request; it shrinks when a refusal
    teaches so. `matryoshka` says that the model's vectors may be cut here if the endpoint
    does not.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        governor: Governor,
        key: Secret | None = None,
        *,
        observer: Observer = ignore,
        timeout: float | None = None,
        max_retries: int | None = None,
        matryoshka: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.limits: Limits = endpoint.provider.limits
        self.model: str | None = None  # as the first answer names it
        self.dimensions: int | None = None
        self._transport = transport
        self._governor = governor
        self._key = key
        self._observe = observer
        self._timeout = timeout
        self._max_retries = max_retries
        self._matryoshka = matryoshka
        self._clock = clock
        self._latency = 0.0
        self._successes = 0
        self._refused_first = 0
        self._noted: set[str] = set()
        self._ask_dimensions = endpoint.provider.dimensions_field is not None
        provider = endpoint.provider
        self._encodings: list[str | None] = [None, "float"]
        if endpoint.encoding is not None:
            self._encodings = [endpoint.encoding]
        elif provider.base64 is not False and provider.encoding_field is not None:
            self._encodings = ["base64", None, "float"]

    async def embed(self, request: Request) -> Answer:
        """Give the answer to a request.

        Raises PersonError or LaterError when the endpoint cannot be used (any more); an input
        that it refuses by itself is in the answer's `refused`.
        """
        try:
            return await self._whole(request)
        except _Refused as refused:
            return await self._in_parts(request, refused)

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    async def models(self) -> list[dict[str, Any]]:
        """Give what `GET /v1/models` lists."""
        import orjson

        if self.endpoint.models_url is None:
            raise PersonError(f"{self.endpoint.provider.name} has no list of models")
        call = Call("GET", self.endpoint.models_url, self._headers(), b"", 60.0, 16 << 20)
        try:
            reply = await self._transport.send(call)
        except TransportFailure as failure:
            raise self._gone(failure) from None
        if reply.status != 200:
            raise self._person(classify(reply))
        try:
            listed = orjson.loads(reply.body)
        except ValueError:
            listed = None
        data = listed.get("data") if isinstance(listed, dict) else listed
        if not isinstance(data, list):
            raise PersonError("the list of models is not one", where=shown(call.url))
        return [item for item in data if isinstance(item, dict)]

    # One request as it is ---------------------------------------------------------------------

    async def _whole(self, request: Request) -> Answer:
        attempts = _Attempts()
        while True:
            await self._governor.admit(request.tokens)
            attempts.sent += 1
            self._observe(Sent(len(request), request.tokens, attempts.sent))
            started = self._clock()
            try:
                reply = await self._transport.send(self._call(request.inputs))
                answer = self._believed(reply, request, self._clock() - started)
                if answer is not None:
                    return answer
                delay = self._after_refusal(classify(_as_error(reply)), reply, attempts)
            except TransportFailure as failure:
                delay = self._after_failure(failure, attempts)
            except BadAnswer as bad:
                delay = self._after_bad_answer(bad, attempts)
            finally:
                self._governor.release()
            if delay:
                import asyncio

                await asyncio.sleep(delay)

    def _call(self, inputs: Inputs) -> Call:
        endpoint, provider = self.endpoint, self.endpoint.provider
        fields: dict[str, object] = {"model": endpoint.model}
        if endpoint.dimensions is not None and self._ask_dimensions:
            fields[str(provider.dimensions_field)] = endpoint.dimensions
        if provider.encoding_field is not None:
            fields[provider.encoding_field] = self._encodings[0]
        fields["user"] = endpoint.user
        body = wire.encode(inputs, {**fields, **endpoint.extra})
        width = self.dimensions or 4096
        return Call(
            "POST",
            endpoint.url,
            {**self._headers(), "content-type": "application/json"},
            body,
            self._deadline(len(inputs)),
            (64 << 10) + len(inputs) * (width * 32 + 512),
        )

    def _headers(self) -> dict[str, str]:
        from tovec import __version__

        found = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"tovec/{__version__}",
        }
        if self._key is not None:
            provider = self.endpoint.provider
            found[provider.key_header.lower()] = provider.key_prefix + self._key.reveal()
        return found

    def _deadline(self, items: int) -> float:
        if self._timeout is not None:
            return self._timeout
        return max(30.0, min(600.0, 20.0 + 0.25 * items + 6 * self._latency))

    # What came back ---------------------------------------------------------------------------

    def _believed(self, reply: Reply, request: Request, seconds: float) -> Answer | None:
        """Give the answer if there is one; None for a refusal; BadAnswer for what is neither."""
        if reply.status != 200 or wire.error_of(reply.body):
            return None
        decoded = wire.decode(reply.body, len(request))
        vectors = self._sized(decoded.vectors)
        self._same_model(decoded.model)
        self._successes += 1
        self._latency += (seconds - self._latency) * (0.2 if self._latency else 1.0)
        identity = request_id(reply.headers)
        self._governor.succeeded(
            headers.rates(reply.headers, time.time()),
            estimate=request.tokens,
            actual=decoded.usage.prompt_tokens,
        )
        self._observe(
            Answered(len(request), decoded.usage.prompt_tokens, seconds, identity or None)
        )
        return Answer(
            vectors,
            decoded.model or self.endpoint.model,
            decoded.usage,
            (identity,) if identity else (),
        )

    def _sized(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the vectors in the dimensions that were asked for; they never change in a job."""
        wanted, found = self.endpoint.dimensions, vectors.shape[1]
        if wanted is not None and found > wanted:
            if not self._matryoshka:
                raise PersonError(
                    f"the endpoint ignores --dimensions: {found} came, {wanted} were asked for",
                    where=shown(self.endpoint.url),
                    hint="leave --dimensions out, or choose a model whose vectors may be cut",
                )
            self._note(f"the endpoint ignores --dimensions: its {found} are cut to {wanted} here")
            vectors = cut(vectors, wanted)
        elif wanted is not None and found < wanted:
            raise PersonError(
                f"the model has {found} dimensions, not {wanted}", where=shown(self.endpoint.url)
            )
        if self.dimensions is None:
            self.dimensions = vectors.shape[1]
        if self.dimensions != vectors.shape[1]:
            raise BadAnswer(
                f"an answer has {vectors.shape[1]} dimensions, those before had {self.dimensions}"
            )
        return vectors

    def _same_model(self, model: str) -> None:
        if self.model is None:
            self.model = model
        elif model != self.model:
            raise PersonError(
                f"the endpoint answers with the model {model!r}, before with {self.model!r}",
                where=shown(self.endpoint.url),
                hint="vectors of two models must not mix; name a fixed version with -m",
            )

    # What to do about it ----------------------------------------------------------------------

    def _after_refusal(self, refusal: Refusal, reply: Reply, attempts: _Attempts) -> float:
        """Give the seconds to wait before the next attempt, or raise what ends the request."""
        asked = headers.retry_after(reply.headers, time.time())
        match refusal.action:
            case Action.PERSON:
                raise self._person(refusal)
            case Action.THROTTLE:
                return self._throttled(refusal, asked, attempts)
            case Action.SMALLER:
                raise _Refused(str(refusal), "too large", refusal)
            case Action.ISOLATE:
                if self._negotiated(refusal):
                    return 0.0
                raise _Refused(str(refusal), "not accepted", refusal)
        ambiguous = refusal.action is Action.AMBIGUOUS
        self._governor.failed(cost=5 if ambiguous else 1)
        same = attempts.same_again(refusal.fingerprint)
        if same and self._successes:
            # Others succeed: some servers fail on one bad text, always (faults 69 and 76).
            raise _Refused(str(refusal), f"HTTP {refusal.status}", refusal)
        return self._again(
            attempts, str(refusal.status), str(refusal), asked, ambiguous=ambiguous, base=0.5
        )

    def _throttled(self, refusal: Refusal, asked: float | None, attempts: _Attempts) -> float:
        attempts.throttled += 1
        if asked is not None and asked > MAX_WAIT:
            raise self._later(f"the endpoint asks to wait {asked:,.0f} s: {refusal}")
        if self._governor.exhausted() or self._out_of_retries(attempts):
            raise self._later(f"throttled for too long: {refusal}")
        delay = self._governor.throttled(asked, attempts.throttled)
        self._observe(Retried("429", str(refusal), delay, attempts.sent, maybe_paid=False))
        return delay

    def _after_failure(self, failure: TransportFailure, attempts: _Attempts) -> float:
        if failure.kind == "fatal":
            raise PersonError(failure.detail, where=shown(self.endpoint.url))
        if failure.kind == "stale" and not attempts.stale:
            attempts.stale = True
            self._observe(Retried("stale", failure.detail, 0.0, attempts.sent, maybe_paid=False))
            return 0.0
        if failure.kind == "not_sent":
            self._governor.failed(cost=0)
            if self._successes == 0 and attempts.sent >= START_ATTEMPTS:
                raise self._gone(failure)
            if self._governor.exhausted() or self._out_of_retries(attempts):
                raise self._gone(failure)
            delay = self._governor.backoff(attempts.sent, base=0.25, cap=15.0)
            self._observe(
                Retried(failure.cause, failure.detail, delay, attempts.sent, maybe_paid=False)
            )
            return delay
        self._governor.failed(cost=5)
        if attempts.same_again(failure.cause) and self._successes and failure.cause != "timeout":
            raise _Refused(failure.detail, failure.cause)
        return self._again(attempts, failure.cause, failure.detail, None, ambiguous=True, base=1.0)

    def _after_bad_answer(self, bad: BadAnswer, attempts: _Attempts) -> float:
        self._governor.failed(cost=5)
        if attempts.ambiguous:  # surely paid: one more try, then smaller parts
            raise _Refused(str(bad), "bad answer")
        return self._again(attempts, "bad answer", str(bad), None, ambiguous=True, base=1.0)

    def _again(
        self,
        attempts: _Attempts,
        cause: str,
        detail: str,
        asked: float | None,
        *,
        ambiguous: bool,
        base: float,
    ) -> float:
        if ambiguous:
            attempts.ambiguous += 1
        else:
            attempts.refused += 1
        if (
            attempts.ambiguous >= AMBIGUOUS_ATTEMPTS
            or attempts.refused >= REFUSED_ATTEMPTS
            or self._out_of_retries(attempts)
            or self._governor.exhausted()
            or (asked is not None and asked > MAX_WAIT)
        ):
            raise self._later(f"given up after {attempts.sent} attempts: {detail}")
        tries = attempts.ambiguous + attempts.refused
        delay = self._governor.backoff(tries, base=base, cap=30.0, floor=asked)
        self._observe(Retried(cause, detail, delay, attempts.sent, maybe_paid=ambiguous))
        return delay

    def _out_of_retries(self, attempts: _Attempts) -> bool:
        return self._max_retries is not None and attempts.sent > self._max_retries

    def _negotiated(self, refusal: Refusal) -> bool:
        """Drop a field that the endpoint does not know, if there is another way without it."""
        words = f"{refusal.param} {refusal.message}".lower()
        provider = self.endpoint.provider
        if provider.encoding_field and provider.encoding_field in words:
            if len(self._encodings) > 1:
                dropped = self._encodings.pop(0)
                then = self._encodings[0] or "its default"
                self._note(
                    f"the endpoint refuses encoding_format={dropped}: {then} instead", "info"
                )
                return True
            return False
        if provider.dimensions_field and provider.dimensions_field in words:
            if self._ask_dimensions and self._matryoshka and self.endpoint.dimensions:
                self._ask_dimensions = False
                return True
            if self.endpoint.dimensions:
                raise self._person(refusal)
        return False

    # Halving ----------------------------------------------------------------------------------

    async def _in_parts(self, request: Request, refused: _Refused) -> Answer:
        """Send the halves of what is refused whole, down to the input that is to blame."""
        size = len(request)
        if refused.cause == "too large":
            self._learn_limit(request, refused)
        if size == 1:
            return self._refuse_alone(refused)
        self._observe(Split(size, refused.cause))
        half = size // 2
        tokens = [request.tokens * half // size]
        tokens.append(request.tokens - tokens[0])
        parts = [
            await self.embed(Request(part, estimate))
            for part, estimate in zip(
                (request.inputs[:half], request.inputs[half:]), tokens, strict=True
            )
        ]
        return joined(parts, (half, size - half))

    def _refuse_alone(self, refused: _Refused) -> Answer:
        if not self._successes:
            self._refused_first += 1
            if self._refused_first >= FIRST_REFUSED or (
                refused.refusal is not None and refused.cause == "bad answer"
            ):
                raise PersonError(
                    f"nothing that was sent is accepted: {refused.reason}",
                    where=shown(self.endpoint.url),
                    hint="check the model and the options, such as --dimensions and --extra",
                )
        nothing = np.empty((0, self.dimensions or 0), np.float32)
        return Answer(nothing, self.model or "", Usage(), (), (), ((0, refused.reason),))

    def _learn_limit(self, request: Request, refused: _Refused) -> None:
        import re

        size, limits = len(request), self.limits
        words = refused.refusal.message if refused.refusal else ""
        if size == 1:
            return
        about_items = re.search(r"batch|input|item|array|text", words, re.I)
        if about_items and not re.search(r"token|byte|payload|body", words, re.I):
            named = [int(n) for n in re.findall(r"\b\d{1,6}\b", words) if 0 < int(n) < size]
            learned = limits._replace(items=min(limits.items or size, *named, size // 2 or 1))
            if named:
                learned = limits._replace(items=max(named))
        else:
            half = max(1, request.tokens * 4 // 2)
            learned = limits._replace(body_bytes=min(limits.body_bytes or half, half))
        if learned != limits:
            self.limits = learned
            self._note("the endpoint takes less in one request than was sent: learned", "info")

    # Words ------------------------------------------------------------------------------------

    def _person(self, refusal: Refusal) -> PersonError:
        return PersonError(
            self._blotted(str(refusal)), where=shown(self.endpoint.url), hint=hint(refusal)
        )

    def _later(self, what: str) -> LaterError:
        return LaterError(
            self._blotted(what),
            where=shown(self.endpoint.url),
            hint="run the same command again later",
        )

    def _gone(self, failure: TransportFailure) -> LaterError | PersonError:
        if failure.kind == "fatal":
            return PersonError(failure.detail, where=shown(self.endpoint.url))
        return LaterError(
            f"the endpoint cannot be reached: {failure.detail}",
            where=shown(self.endpoint.url),
            hint="check the address and the network, then run the same command again",
        )

    def _blotted(self, text: str) -> str:
        return text if self._key is None else self._key.blot(text)

    def _note(self, text: str, level: str = "warning") -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._observe(Note(text, level))


def _as_error(reply: Reply) -> Reply:
    """Give an error object under status 200 the status that its code means (fault 35)."""
    if reply.status != 200:
        return reply
    import re

    found = re.search(rb'"(?:code|status)"\s*:\s*"?([45]\d\d)\b', reply.body[:4096])
    return reply._replace(status=int(found[1]) if found else 500)


def cut(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Give the first dimensions of each vector, L2-normalised again.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning".
    """
    part = vectors[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    result: NDArray[np.float32] = (part / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return result


def joined(parts: list[Answer], sizes: tuple[int, ...]) -> Answer:
    """Give the answers to consecutive parts of a request as one."""
    kept: list[int] = []
    refused: list[tuple[int, str]] = []
    before = 0
    for part, size in zip(parts, sizes, strict=True):
        places = range(size) if part.kept is None else part.kept
        kept += [before + place for place in places]
        refused += [(before + place, why) for place, why in part.refused]
        before += size
    filled = [part.vectors for part in parts if len(part.vectors)] or [parts[0].vectors]
    usages = [part.usage.prompt_tokens for part in parts]
    total = None if None in usages else sum(u for u in usages if u is not None)
    return Answer(
        np.concatenate(filled),
        next((part.model for part in parts if part.model), ""),
        Usage(total, total),
        tuple(name for part in parts for name in part.request_ids),
        None if len(kept) == before else tuple(kept),
        tuple(refused),
    )
