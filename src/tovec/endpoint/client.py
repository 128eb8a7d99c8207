"""One request to one answer, after whatever retries it takes, or to a typed refusal.

`retry.decide` says what to do after an attempt that brought no vectors, the governor when a
request may be sent; the client sends, reads, and words what ends a run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.endpoint import capacity, rate_headers, retry, wire
from tovec.endpoint.address import Endpoint, shown
from tovec.endpoint.admission import Ticket
from tovec.endpoint.call import Caller
from tovec.endpoint.credentials import Secret
from tovec.endpoint.dialect import Dialect, Known
from tovec.endpoint.governor import Governor
from tovec.endpoint.outcomes import (
    Ending,
    Facts,
    Failed,
    FailedCall,
    Fingerprint,
    History,
    Negotiate,
    Outcome,
    Probe,
    RefusedCall,
    Reject,
    Retry,
    Stop,
    Throttled,
    UnusableAnswer,
)
from tovec.endpoint.refusal import (
    Action,
    BadAnswer,
    Refusal,
    TransportFailure,
    classify,
    request_id,
)
from tovec.endpoint.run_errors import RunErrors
from tovec.endpoint.transport import Reply, Transport
from tovec.errors import LaterError, PersonError
from tovec.events import Answered, Held, Level, Note, Observer, Retried, Sent, ignore
from tovec.records import Answer, Inputs, Limits, Request

MAX_OVERCOME = 100  # kinds of failures that are remembered as passing


class RunTally:
    """What the run's requests have come to so far."""

    def __init__(self) -> None:
        self.successes = 0
        self.sent = 0  # attempts
        self.throttles = 0  # answers with 429
        self.good: str | list[int] | None = None  # an input that is known to be accepted
        self.overcome: set[Fingerprint] = set()  # failures after which a retry has helped


class Rejected(Exception):  # noqa: N818 - control flow between the client and its dispatcher
    """A request that is not accepted as it is; smaller parts of it may be."""

    def __init__(self, why: Reject) -> None:
        super().__init__(why.reason)
        self.why = why


class Outgrown(Exception):  # noqa: N818 - the same
    """A request that exceeds what the endpoint is known to take by now; it was not sent."""


class _NoAnswer(NamedTuple):
    """What came of an attempt instead of vectors; `reply` and `failure` are for words."""

    outcome: Outcome
    reply: Reply | None = None
    failure: TransportFailure | None = None


class Client:
    """One endpoint, as a function from a request to its answer.

    `limits` is what the endpoint is known to take in one request; whoever divides a request that
    is refused for its size lowers them.
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
        known: Known = Known(),  # noqa: B008 - a constant
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.limits: Limits = endpoint.provider.limits
        self.dialect = Dialect(endpoint, known, self._say)
        self.tally = RunTally()
        self._caller = Caller(endpoint, key, timeout)
        self._errors = RunErrors(endpoint, self._blotted)
        self._transport = transport
        self._governor = governor
        self._key = key
        self._observe = observer
        self._max_retries = max_retries
        governor.on_hold = lambda seconds: observer(Held(seconds))
        self._clock = clock
        self._said: set[str] = set()

    @contextlib.asynccontextmanager
    async def answer(self, request: Request) -> AsyncIterator[Answer]:
        """Yield the answer to a request; its place among those under way is free at the end.

        Raises Rejected where smaller parts of the request, or other requests, may be accepted,
        Outgrown where limits were learned meanwhile that it exceeds, and PersonError or LaterError
        when the endpoint cannot be used (any more).
        """
        history = History()
        while True:
            ticket = await self._governor.admit(request.tokens)
            try:
                if len(request) > 1 and not self.fits(request):
                    raise Outgrown
                history = history.after_sending(
                    self.dialect.encoding, with_dimensions=self.dialect.asks_dimensions
                )
                found = await self._attempt(request, ticket, history)
                if isinstance(found, Answer):
                    yield found
                    return
                history, delay = await self._after(found, request, ticket, history)
            finally:
                self._governor.release(ticket)
            if delay:
                await self._governor.rest(delay)

    def fits(self, request: Request) -> bool:
        """Return whether a request is within the limits that are known by now."""
        return capacity.fits(request, self.limits, self._governor.most_tokens)

    def remember(self, one: str | list[int]) -> None:
        """Take an input that had its vector in an earlier run as one that the endpoint accepts."""
        self.tally.good = self.tally.good or one

    def stop(self) -> None:
        """Send nothing more: what waits to be sent is cancelled, what is under way goes on."""
        self._governor.stop()

    async def close(self) -> None:
        """Close connections, and leave what is shared with other processes."""
        await self._transport.close()
        self._governor.close()

    async def models(self) -> list[dict[str, object]]:
        """Return what `GET /v1/models` lists."""
        if self.endpoint.models_url is None:
            raise PersonError(f"{self.endpoint.provider.name} has no list of models")
        call = self._caller.models(self.endpoint.models_url)
        try:
            reply = await self._transport.send(call)
        except TransportFailure as failure:
            raise self._errors.unreachable(failure) from None
        if reply.status != 200:
            refusal = self._refusal(reply)
            if refusal.rule.action is Action.RETRY and reply.status not in (401, 403):
                raise self._errors.later(str(refusal))
            raise self._errors.refused(refusal, None)
        try:
            listed = orjson.loads(reply.body)
        except ValueError:
            listed = None
        data = listed.get("data", listed.get("models")) if isinstance(listed, dict) else listed
        if not isinstance(data, list):
            raise PersonError("the list of models cannot be read", where=shown(call.url))
        return [item for item in data if isinstance(item, dict)]

    # One attempt ------------------------------------------------------------------------------

    async def _attempt(
        self, request: Request, ticket: Ticket, history: History
    ) -> Answer | _NoAnswer:
        self.tally.sent += 1
        self._observe(Sent(len(request), request.tokens, history.sent))
        began = self._clock()
        try:
            reply = await self._send(request.inputs, self.dialect.fields, history.stretch)
            seconds = self._clock() - began
            if reply.status == 200 and not wire.error_of(reply.body):
                answer = await self._believed(reply, request)
                if history.last is not None and len(self.tally.overcome) < MAX_OVERCOME:
                    self.tally.overcome.add(history.last)
                self._succeeded(reply, answer, request, ticket, seconds)
                return answer
        except TransportFailure as failure:
            detail = self._blotted(failure.detail)
            return _NoAnswer(FailedCall(failure.kind, failure.cause, detail), failure=failure)
        except BadAnswer as bad:
            return _NoAnswer(UnusableAnswer(str(bad), bad.foreign, bad.shape))
        if 200 < reply.status < 300:
            return _NoAnswer(UnusableAnswer(f"the answer has status {reply.status}"))
        now = time.time()
        outcome = RefusedCall(
            self._refusal(reply),
            rate_headers.retry_after(reply.headers, now),
            any(rate_headers.rates(reply.headers, now)),
        )
        return _NoAnswer(outcome, reply)

    async def _send(
        self, inputs: Inputs, fields: Mapping[str, object], stretch: float = 1.0
    ) -> Reply:
        call = self._caller.embeddings(inputs, fields, self.dialect.width, stretch)
        return await self._transport.send(call)

    async def _believed(self, reply: Reply, request: Request) -> Answer:
        """Return the answer that a reply holds; raises BadAnswer where it must not be believed."""
        decoded = wire.decode(reply.body, len(request))
        vectors = await self._undoubled(decoded.vectors, request)
        model = self._blotted(decoded.model)
        vectors = self.dialect.accept(vectors, model)
        identity = self._blotted(request_id(reply.headers))
        return Answer(
            vectors,
            model or self.endpoint.model,
            decoded.usage,
            (identity,) if identity else (),
        )

    async def _undoubled(
        self, vectors: NDArray[np.float32], request: Request
    ) -> NDArray[np.float32]:
        """Return vectors that came as base64 of float64, read as such (fault 44).

        What looks like that is checked once, with one input asked for as numbers.
        """
        dialect = self.dialect
        if self.endpoint.provider.in_process or not wire.like_float64(vectors):
            return vectors
        if not dialect.has_doubles and self.tally.successes == 0:
            try:
                one = await self._send(request.inputs[:1], dialect.numbers)
                width = wire.decode(one.body, 1).vectors.shape[1] if one.status == 200 else 0
            except (TransportFailure, BadAnswer):
                width = 0
            if width * 2 == vectors.shape[1]:
                dialect.use_numbers()
        return vectors.view("<f8").astype(np.float32) if dialect.has_doubles else vectors

    def _succeeded(
        self, reply: Reply, answer: Answer, request: Request, ticket: Ticket, seconds: float
    ) -> None:
        self.tally.successes += 1
        if self.tally.good is None or len(request.inputs[0]) < len(self.tally.good):
            self.tally.good = request.inputs[0]
        self._caller.learn_latency(seconds)
        used = answer.usage.prompt_tokens
        self._governor.succeeded(
            ticket,
            rate_headers.rates(reply.headers, time.time()),
            estimate=request.tokens,
            actual=used,
            seconds=seconds,
        )
        identity = answer.request_ids[0] if answer.request_ids else None
        self._observe(Answered(len(request), used, seconds, identity))

    # What to do without an answer -------------------------------------------------------------

    async def _after(
        self, found: _NoAnswer, request: Request, ticket: Ticket, history: History
    ) -> tuple[History, float]:
        """Return the history and the seconds to wait before the next attempt, or raise."""
        self._teach(found, ticket, history, self._facts(request))
        facts = self._facts(request)
        decision = retry.decide(found.outcome, history, facts)
        if isinstance(decision, Probe):
            facts = facts._replace(is_alive=await self._is_alive())
            decision = retry.decide(found.outcome, history, facts)
        match decision:
            case Retry(cause, detail, history, backoff, maybe_paid):
                delay = 0.0 if backoff is None else self._governor.backoff(**backoff._asdict())
                pause = max(delay, self._governor.pause)
                self._observe(
                    Retried(cause, detail, pause, history.sent, maybe_paid, request.tokens)
                )
                return history, delay
            case Negotiate():
                if decision.drop is not None:
                    self.dialect.drop(decision.drop)
                return history, 0.0
            case Reject():
                raise Rejected(decision)
            case Stop():
                raise self._ended(decision, found)
        raise AssertionError(decision)

    def _teach(self, found: _NoAnswer, ticket: Ticket, history: History, facts: Facts) -> None:
        """Tell the governor what an outcome says of load."""
        outcome = found.outcome
        match retry.lesson(outcome, history, facts):
            case Failed() as failed:
                self._governor.failed(ticket, cost=failed.cost, overload=failed.is_overload)
            case Throttled() as throttled if found.reply is not None:
                rates = rate_headers.rates(found.reply.headers, time.time())
                self._governor.throttled(ticket, rates, throttled.hint)
                self.tally.throttles += 1
                if isinstance(outcome, RefusedCall) and retry.hides_limits(
                    outcome, self.tally.throttles
                ):
                    self._say(
                        "the endpoint refuses requests with 429 and does not say its limits; "
                        "--rpm and --tpm keep below them"
                    )

    def _facts(self, request: Request) -> Facts:
        governor = self._governor
        return Facts(
            rows=len(request),
            successes=self.tally.successes,
            tries=governor.tries,
            is_exhausted=governor.exhausted(),
            failing_seconds=governor.failing_seconds,
            longest_wait=governor.longest_wait,
            now=time.time(),
            max_retries=self._max_retries,
            overcome=self.tally.overcome,
            has_good_input=self.tally.good is not None,
            fields=self.dialect.optional,
        )

    async def _is_alive(self) -> bool:
        """Ask again for an input that has had its vector: what fails is then the other request."""
        one: Inputs = [self.tally.good]  # type: ignore[assignment]  # texts or tokens, and not mixed
        try:
            reply = await self._send(one, self.dialect.fields)
            is_alive = reply.status == 200 and len(wire.decode(reply.body, 1).vectors) == 1
        except (TransportFailure, BadAnswer):
            is_alive = False
        if is_alive:
            self.tally.successes += 1
            self._governor.recovered()
        return is_alive

    def _refusal(self, reply: Reply) -> Refusal:
        """Return the refusal that a reply is, the key taken out of whatever the endpoint says."""
        found = classify(reply)
        return found._replace(
            message=self._blotted(found.message),
            code=self._blotted(found.code),
            kind=self._blotted(found.kind),
            param=self._blotted(found.param),
            request_id=self._blotted(found.request_id),
            in_process=self.endpoint.provider.in_process,
        )

    def _ended(self, stop: Stop, found: _NoAnswer) -> PersonError | LaterError:
        """Return the error that ends the run."""
        outcome = found.outcome
        if stop.ending is Ending.REFUSED and isinstance(outcome, RefusedCall):
            return self._errors.refused(outcome.refusal, self.dialect.encoding)
        if stop.ending is Ending.UNREACHABLE and found.failure is not None:
            return self._errors.unreachable(found.failure)
        return self._errors.stopped(stop)

    def _blotted(self, text: str) -> str:
        return text if self._key is None or not text else self._key.blot(text)

    def _say(self, text: str, level: Level = "warning") -> None:
        """Tell the user something, once."""
        if text not in self._said:
            self._said.add(text)
            self._observe(Note(text, level))
