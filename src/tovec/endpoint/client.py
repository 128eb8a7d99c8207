"""Requests to vectors: the one place that retries, halves, negotiates and gives up.

What is tried again, how often, and what comes after, is `errors.Rule`; when it may go out is the
governor's. Follows the retry policy of the reliability notes, section (c).
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tovec.endpoint import parts, rate_headers, wire
from tovec.endpoint.address import Endpoint, sent_fields, shown
from tovec.endpoint.credentials import Secret
from tovec.endpoint.governor import MAYBE_PAID, Governor, Ticket
from tovec.endpoint.refusal import (
    AMBIGUOUS,
    BAD_ANSWER,
    FOREIGN,
    THROTTLE,
    Action,
    BadAnswer,
    Refusal,
    Rule,
    TransportFailure,
    classify,
    hint,
    request_id,
)
from tovec.endpoint.transport import Call, Reply, Transport
from tovec.errors import LaterError, PersonError
from tovec.events import Answered, Held, Note, Observer, Refused, Retried, Sent, Split, ignore
from tovec.records import Answer, Inputs, Limits, Request, Usage
from tovec.wording import count_phrase

START_ATTEMPTS = 3  # tries of the whole run to connect, before anything has worked ...
START_THROTTLES = 8  # ... and to find room, where every request is answered with 429
SILENT_THROTTLES = 3  # after so many 429s without rate-limit headers, --rpm is suggested
FIRST_REFUSED = 3  # refused before any success: it is the settings, not the inputs
MOST_SPLITS = 200  # to find single bad inputs, or a twentieth of all requests
MOST_KNOWN = 100  # kinds of failures that are remembered as passing
KEY_SECONDS = 5.0  # until a key is known to all of an endpoint's machines
FIRST_CAP = 64 << 20  # bytes of an answer, while the vectors' dimensions are not known ...
FIRST_WIDTH = 4096  # ... or as many as this takes
LONGEST = 600.0  # seconds for one attempt
MIN_LENGTH, MAX_LENGTH = 1e-3, 1e3  # of a vector: outside, it was read in the wrong format
UNKNOWN_FIELD = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|not (permitted|allowed)|extra"
)

Keep = Callable[[Request, Answer], Awaitable[None]]
"""Stores an answer, or a part of one; its request's place is free when this has returned."""


class _Refused(Exception):  # noqa: N818 - control flow inside this module
    """A request that is not accepted as it is; smaller parts of it may be."""

    def __init__(
        self,
        reason: str,
        cause: str,
        *,
        words: str = "",
        size: bool = False,
        maybe_paid: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.words = words  # the endpoint's own
        self.size = size  # whether it is the request's size, from which a limit is learned
        self.maybe_paid = maybe_paid


class _Outgrown(Exception):  # noqa: N818 - the same
    """A request that waited while a limit was learned which it exceeds."""


class _Attempts:
    """What one request has been through; `seen` counts the successes at its last failure."""

    def __init__(self) -> None:
        self.seen: int | None = None
        self.sent = 0
        self.spent = 0
        self.stale = False
        self.encoding: str | None = None  # asked for last
        self.resized = False  # whether dimensions were asked for last
        self.stretch = 1.0  # of the deadline
        self.last: object = None  # failure
        self._equal = 0

    def equal(self, fingerprint: object) -> int:
        """Give how many failures in a row were equal, this one among them."""
        self._equal = self._equal + 1 if fingerprint == self.last else 1
        self.last = fingerprint
        return self._equal


class Client:
    """One endpoint, as a function from requests to answers.

    `limits` is what the endpoint is known to take in one request; it shrinks when a refusal
    teaches so. `matryoshka` says that the model's vectors may be cut here if the endpoint
    does not; `known_dimensions` is what the model is known to give when none are asked
    for: others are an error, or a warning where `dimensions_are_sure` is off (an address that may
    only claim the model's name).
    `keep` stores each answer, or each part of one that came in parts.
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
        known_dimensions: int | None = None,
        dimensions_are_sure: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.keep: Keep | None = None
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
        self._known_dimensions = known_dimensions if endpoint.dimensions is None else None
        self._dimensions_are_sure = dimensions_are_sure
        governor.on_hold = lambda seconds: observer(Held(seconds))
        self._clock = clock
        self._latency = 0.0
        self._successes = 0
        self._sent = 0
        self._good: str | list[int] | None = None  # an input that has had its vector
        self._splits = 0
        self._hopeless = 0
        self._throttles = 0
        self._width = 0  # dimensions as they are received
        self._other_dimensions: int | None = None  # of the last answer that contradicted others
        self._doubles = False  # whether base64 holds float64 (fault 44)
        self._noted: set[str] = set()
        self._passing: set[object] = set()  # failures after which trying again has helped
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
        return await self._embed(request)

    def stop(self) -> None:
        """Send nothing more: what waits to be sent is cancelled, what is under way goes on."""
        self._governor.stop()

    async def close(self) -> None:
        """Close connections, and leave what is shared with other processes."""
        await self._transport.close()
        self._governor.close()

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
            refusal = self._refusal(reply)
            if refusal.rule.action is Action.RETRY and reply.status not in (401, 403):
                raise self._later(str(refusal))
            raise self._person(refusal)
        try:
            listed = orjson.loads(reply.body)
        except ValueError:
            listed = None
        data = listed.get("data", listed.get("models")) if isinstance(listed, dict) else listed
        if not isinstance(data, list):
            raise PersonError("the list of models is not one", where=shown(call.url))
        return [item for item in data if isinstance(item, dict)]

    # One request as it is ---------------------------------------------------------------------

    async def _embed(self, request: Request) -> Answer:
        """Give the answer to a request, or to the parts in which it is accepted."""
        if not self._fits(request):
            if len(request) > 1:
                return await self._in_parts(request)
            why = f"it needs about {request.tokens:,} tokens, more than a minute has room for"
            return await self._kept(request, self._refused_alone(why))
        try:
            return await self._whole(request)
        except _Outgrown:
            return await self._in_parts(request)
        except _Refused as refused:
            self._take_to_heart(request, refused)
            if len(request) == 1:
                self._observe(Refused(refused.reason))
                return await self._kept(request, self._refused_alone(refused.reason))
            self._observe(Split(len(request), refused.cause, refused.maybe_paid, request.tokens))
            return await self._in_parts(request)

    async def _whole(self, request: Request) -> Answer:
        attempts = _Attempts()
        while True:
            ticket = await self._governor.admit(request.tokens)
            if len(request) > 1 and not self._fits(request):
                self._governor.release(ticket)  # a limit has been learned while it waited
                raise _Outgrown
            attempts.sent += 1
            attempts.encoding, attempts.resized = self._encodings[0], self._ask_dimensions
            self._sent += 1
            self._observe(Sent(len(request), request.tokens, attempts.sent))
            started = self._clock()
            try:
                reply = await self._transport.send(self._call(request.inputs, attempts.stretch))
                seconds = self._clock() - started
                if reply.status == 200 and not wire.error_of(reply.body):
                    decoded = wire.decode(reply.body, len(request))
                    vectors = await self._undoubled(decoded.vectors, request)
                    if attempts.last is not None and len(self._passing) < MOST_KNOWN:
                        self._passing.add(attempts.last)
                    answer = self._believed(decoded._replace(vectors=vectors), reply, request,
                                            ticket, seconds)  # fmt: skip
                    return await self._kept(request, answer)
                if 200 < reply.status < 300:
                    raise BadAnswer(f"the answer has status {reply.status}")
                delay = await self._after_refusal(reply, request, ticket, attempts)
            except TransportFailure as failure:
                delay = await self._after_failure(failure, request, ticket, attempts)
            except BadAnswer as bad:
                delay = await self._after_bad_answer(bad, request, ticket, attempts)
            finally:
                self._governor.release(ticket)
            if delay:
                await self._governor.rest(delay)

    def _call(self, inputs: Inputs, stretch: float, encoding: str | None = "") -> Call:
        endpoint = self.endpoint
        asked = self._encodings[0] if encoding == "" else encoding
        fields = sent_fields(endpoint, asked, dimensions=self._ask_dimensions)
        body = wire.encode(inputs, fields)
        # Enough for numbers written in full; vectors are received wider than they are cut here.
        cap = (64 << 10) + len(inputs) * ((self._width or FIRST_WIDTH) * 32 + 512)
        cap = cap if self._width else max(cap, FIRST_CAP)
        return Call(
            "POST",
            endpoint.url,
            {**self._headers(), "content-type": "application/json"},
            body,
            self._deadline(len(inputs), stretch),
            cap,
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

    def _deadline(self, items: int, stretch: float) -> float:
        if self._timeout is not None:
            return self._timeout
        usual = max(30.0, min(LONGEST, 20.0 + 0.25 * items + 6 * self._latency))
        return min(LONGEST, usual * stretch)

    async def _kept(self, request: Request, answer: Answer) -> Answer:
        """Give the answer once it is stored: only then is its place among the requests free."""
        if self.keep is not None:
            try:
                await self.keep(request, answer)
            except Exception:
                self.stop()  # what cannot be stored must not be asked for (fault 100)
                raise
        return answer

    # What came back ---------------------------------------------------------------------------

    def _believed(
        self, decoded: wire.Decoded, reply: Reply, request: Request, ticket: Ticket, seconds: float
    ) -> Answer:
        vectors = self._sized(decoded.vectors)
        model = self._blotted(decoded.model)
        self._same_model(model)
        self._successes += 1
        if self._good is None or len(request.inputs[0]) < len(self._good):
            self._good = request.inputs[0]
        self._latency += (seconds - self._latency) * (0.2 if self._latency else 1.0)
        identity = self._blotted(request_id(reply.headers))
        self._governor.succeeded(
            ticket,
            rate_headers.rates(reply.headers, time.time()),
            estimate=request.tokens,
            actual=decoded.usage.prompt_tokens,
            seconds=seconds,
        )
        self._observe(
            Answered(len(request), decoded.usage.prompt_tokens, seconds, identity or None)
        )
        return Answer(
            vectors,
            model or self.endpoint.model,
            decoded.usage,
            (identity,) if identity else (),
        )

    async def _undoubled(
        self, vectors: NDArray[np.float32], request: Request
    ) -> NDArray[np.float32]:
        """Give vectors that came as base64 of float64, read as such (fault 44).

        What looks like that is checked once, with one input asked for as numbers.
        """
        if self.endpoint.provider.in_process or not wire.like_float64(vectors):
            return vectors
        if not self._doubles and self._successes == 0:
            try:
                one = await self._transport.send(self._call(request.inputs[:1], 1.0, "float"))
                width = wire.decode(one.body, 1).vectors.shape[1] if one.status == 200 else 0
            except (TransportFailure, BadAnswer):
                width = 0
            if width * 2 == vectors.shape[1]:
                self._doubles = True
                self._encodings = ["float"]
                self._note("the endpoint's base64 holds float64: numbers are asked for instead")
        return vectors.view("<f8").astype(np.float32) if self._doubles else vectors

    def _sized(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the vectors in the dimensions that were asked for; they never change in a job."""
        wanted, found = self.endpoint.dimensions, vectors.shape[1]
        self._width = max(self._width, found)
        if wanted is not None and found > wanted:
            if not self._matryoshka:
                raise PersonError(
                    f"the endpoint ignores --dimensions: {found} came, {wanted} were asked for",
                    where=shown(self.endpoint.url),
                    hint="leave --dimensions out, or choose a model whose vectors may be cut",
                )
            self._note(f"the endpoint does not take --dimensions: {found} are cut to {wanted} here")
            vectors = cut(vectors, wanted)
        elif wanted is not None and found < wanted:
            raise PersonError(
                f"the model has {found} dimensions, not {wanted}", where=shown(self.endpoint.url)
            )
        if self._known_dimensions not in (None, found):
            what = f"{self.endpoint.model} has {self._known_dimensions} dimensions, not {found}"
            advice = (
                "another model or number format? --encoding-format float asks for plain numbers"
            )
            if self._dimensions_are_sure:
                raise PersonError(what, where=shown(self.endpoint.url), hint=advice)
            self._note(f"{what}: {advice}")
        if self.dimensions is None:
            self.dimensions = vectors.shape[1]
        if self.dimensions != vectors.shape[1]:
            if vectors.shape[1] != self._other_dimensions:  # once may be a mix-up in between
                self._other_dimensions = vectors.shape[1]
                raise BadAnswer(
                    f"an answer has {vectors.shape[1]} dimensions, before {self.dimensions}"
                )
            raise PersonError(
                f"the endpoint answers with {vectors.shape[1]} dimensions, "
                f"before with {self.dimensions}",
                where=shown(self.endpoint.url),
                hint="vectors of two models must not mix; name a fixed version with -m",
            )
        self._check_length(vectors[0])
        return vectors

    def _check_length(self, vector: NDArray[np.float32]) -> None:
        """Warn once about a vector that no model gives: numbers read in another format."""
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not MIN_LENGTH <= length <= MAX_LENGTH:
            self._note(
                f"a vector has the length {length:.3g}, which no known model gives: is it in "
                "another number format? --encoding-format float asks for plain numbers"
            )

    def _same_model(self, model: str) -> None:
        self.model = self.model or model or None
        if model and model != self.model:
            raise PersonError(
                f"the endpoint answers with the model {model!r}, before with {self.model!r}",
                where=shown(self.endpoint.url),
                hint="vectors of two models must not mix; name a fixed version with -m",
            )

    def _refusal(self, reply: Reply) -> Refusal:
        """Give the refusal that a reply is, the key taken out of whatever the endpoint says."""
        found = classify(reply)
        return found._replace(
            message=self._blotted(found.message),
            code=self._blotted(found.code),
            kind=self._blotted(found.kind),
            param=self._blotted(found.param),
            request_id=self._blotted(found.request_id),
        )

    # What to do about it ----------------------------------------------------------------------

    async def _after_refusal(
        self, reply: Reply, request: Request, ticket: Ticket, attempts: _Attempts
    ) -> float:
        """Give the seconds to wait before the next attempt, or raise what ends the request."""
        refusal = self._refusal(reply)
        asked = rate_headers.retry_after(reply.headers, time.time())
        rule = refusal.rule
        if refusal.status == 503 and asked is not None:
            rule = THROTTLE  # no input is to blame: the endpoint says when it has room again
        if refusal.status in (401, 403):
            if not self._successes:
                raise self._person(refusal)
            asked = max(asked or 0.0, KEY_SECONDS)
        match rule.action:
            case Action.PERSON:
                raise self._person(refusal)
            case Action.THROTTLE:
                asked = rate_headers.wait_in(refusal.message) if asked is None else asked
                return self._throttled(refusal, reply, request, asked, ticket, attempts)
            case Action.SMALLER:
                self._fail_if_ours(refusal)
                raise _Refused(str(refusal), "too large", words=refusal.message, size=True)
            case Action.ISOLATE:
                if self._negotiated(refusal, attempts):
                    return 0.0
                self._fail_if_ours(refusal)
                raise _Refused(str(refusal), "not accepted", words=refusal.message)
        self._governor.failed(ticket, cost=1)
        return await self._again(request, attempts, rule, str(refusal.status), str(refusal),
                           refusal.fingerprint, asked, refusal)  # fmt: skip

    def _throttled(
        self,
        refusal: Refusal,
        reply: Reply,
        request: Request,
        asked: float | None,
        ticket: Ticket,
        attempts: _Attempts,
    ) -> float:
        if asked is not None and asked > self._governor.longest_wait:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + asked))
            raise self._later(f"the endpoint asks to wait {asked:,.0f} s, until {when}: {refusal}")
        seen = rate_headers.rates(reply.headers, time.time())
        delay = self._governor.throttled(ticket, seen, asked)
        self._throttles += 1
        if asked is None and not any(seen) and self._throttles >= SILENT_THROTTLES:
            self._note(
                "the endpoint refuses requests with 429 and does not say its limits; --rpm and "
                "--tpm keep below them"
            )
        if self._never_worked(START_THROTTLES) or self._out_of_retries(attempts):
            raise self._later(f"every request is throttled: {refusal}")
        if self._governor.exhausted():
            raise self._later(self._gave_up(str(refusal)))
        self._retried(str(refusal.status), str(refusal), delay, request, attempts)
        return 0.0  # the governor makes it wait, with all others

    async def _after_failure(
        self, failure: TransportFailure, request: Request, ticket: Ticket, attempts: _Attempts
    ) -> float:
        detail = self._blotted(failure.detail)
        if failure.kind == "fatal":
            raise self._gone(failure)
        if failure.kind == "stale" and not attempts.stale:
            attempts.stale = True
            self._retried("stale", detail, 0.0, request, attempts)
            return 0.0
        if failure.kind == "not_sent":
            self._governor.failed(ticket, cost=0, overload=failure.cause == "files")
            if (
                self._never_worked(START_ATTEMPTS)
                or self._governor.exhausted()
                or self._out_of_retries(attempts)
            ):
                raise self._gone(failure)
            delay = self._governor.backoff(attempts.sent, base=0.25, cap=15.0)
            self._retried(failure.cause, detail, delay, request, attempts)
            return delay
        slow = failure.cause == "timeout"
        self._governor.failed(ticket, cost=MAYBE_PAID, overload=slow)
        attempts.stretch *= 1.5 if slow else 1.0
        rule = FOREIGN if failure.kind == "foreign" else AMBIGUOUS
        return await self._again(request, attempts, rule, failure.cause, detail, failure.cause)

    async def _after_bad_answer(
        self, bad: BadAnswer, request: Request, ticket: Ticket, attempts: _Attempts
    ) -> float:
        self._governor.failed(ticket, cost=MAYBE_PAID)
        foreign = bad.foreign or (bad.shape and not self._successes)
        rule = FOREIGN if foreign else BAD_ANSWER
        return await self._again(request, attempts, rule, "bad answer", str(bad), "bad answer")

    async def _again(
        self,
        request: Request,
        attempts: _Attempts,
        rule: Rule,
        cause: str,
        detail: str,
        fingerprint: object,
        asked: float | None = None,
        refusal: Refusal | None = None,
    ) -> float:
        """Give the delay before the next attempt; raise what comes after the last one."""
        moving = attempts.seen is not None and self._successes > attempts.seen
        attempts.seen = self._successes
        attempts.spent += 1
        # A failure that others have overcome by trying again is by chance, not by an input.
        enough = 3 if fingerprint in self._passing else 2
        same = attempts.equal(fingerprint) >= enough and len(request) > 1
        if asked is not None and asked > self._governor.longest_wait:
            raise self._later(f"the endpoint asks to wait {asked:,.0f} s: {detail}")
        last = attempts.spent >= rule.attempts or self._never_worked(
            max(rule.attempts, START_ATTEMPTS)
        )
        if self._governor.exhausted():
            if rule.then is Action.PERSON:
                self._give_up(attempts, rule, cause, detail, refusal)
            raise self._later(self._gave_up(detail))
        if (same or last) and rule.then is Action.LATER and self._good is not None:
            # Some servers fail on one bad text, always (faults 69 and 76); others are down.
            if moving or await self._alive():
                raise _Refused(detail, cause, maybe_paid=rule.maybe_paid)
            attempts.spent, last = 0, False
        if last or self._out_of_retries(attempts):
            self._give_up(attempts, rule, cause, detail, refusal)
        base = 0.5 if refusal is not None else 1.0
        delay = self._governor.backoff(attempts.spent, base=base, cap=30.0, floor=asked)
        self._retried(cause, detail, delay, request, attempts, maybe_paid=rule.maybe_paid)
        return delay

    def _retried(
        self,
        cause: str,
        detail: str,
        delay: float,
        request: Request,
        attempts: _Attempts,
        *,
        maybe_paid: bool = False,
    ) -> None:
        delay = max(delay, self._governor.pause)
        self._observe(Retried(cause, detail, delay, attempts.sent, maybe_paid, request.tokens))

    def _give_up(
        self,
        attempts: _Attempts,
        rule: Rule,
        cause: str,
        detail: str,
        refusal: Refusal | None,
    ) -> NoReturn:
        if rule.then is Action.PERSON:
            if refusal is not None:
                raise self._person(refusal)
            raise PersonError(
                f"the endpoint's answers cannot be used: {detail}",
                where=shown(self.endpoint.url),
                hint="check that the address is that of an OpenAI-compatible endpoint",
            )
        if rule.then is Action.ISOLATE:
            raise _Refused(detail, cause, maybe_paid=rule.maybe_paid)
        tries = count_phrase(max(attempts.sent, self._governor.tries), "try", "tries")
        raise self._later(f"gave up after {tries}: {detail}")

    def _gave_up(self, detail: str) -> str:
        return f"gave up after {self._governor.failing_seconds:,.0f} s without a success: {detail}"

    def _never_worked(self, tries: int) -> bool:
        """Return whether nothing has ever succeeded, in so many tries of the whole run."""
        return not self._successes and self._governor.tries >= tries

    async def _alive(self) -> bool:
        """Ask again for an input that has had its vector: what fails is then the other request."""
        assert self._good is not None
        try:
            reply = await self._transport.send(self._call([self._good], 1.0))  # type: ignore[arg-type]
            alive = reply.status == 200 and len(wire.decode(reply.body, 1).vectors) == 1
        except (TransportFailure, BadAnswer):
            alive = False
        if alive:
            self._governor.recovered()
        return alive

    def _out_of_retries(self, attempts: _Attempts) -> bool:
        return self._max_retries is not None and attempts.sent > self._max_retries

    def _negotiated(self, refusal: Refusal, attempts: _Attempts) -> bool:
        """Drop a field that the endpoint does not know, if there is another way without it."""
        words = f"{refusal.param} {refusal.message}".lower()
        provider = self.endpoint.provider
        if provider.encoding_field and provider.encoding_field in words:
            if self._encodings[0] != attempts.encoding:
                return True  # another request has learned it meanwhile
            if len(self._encodings) > 1:
                dropped = self._encodings.pop(0)
                then = self._encodings[0] or "its default"
                self._note(
                    f"the endpoint refuses encoding_format={dropped}: {then} instead", "info"
                )
                return True
            raise self._person(refusal)
        if provider.dimensions_field and provider.dimensions_field in words:
            if self._matryoshka and self.endpoint.dimensions and attempts.resized:
                self._ask_dimensions = False
                return True
            if self.endpoint.dimensions:
                raise self._person(refusal)
        return False

    def _fail_if_ours(self, refusal: Refusal) -> None:
        """Raise where the refusal names a field of every request: no input is to blame."""
        ours = {"model", "user", *self.endpoint.extra}
        if refusal.param.removeprefix("body.") in ours:
            raise self._person(refusal)
        words = refusal.message.lower()
        named = any(
            re.search(rf"\b{re.escape(name.lower())}\b", words) for name in self.endpoint.extra
        )
        if named and UNKNOWN_FIELD.search(words):
            raise self._person(refusal)

    # Parts ------------------------------------------------------------------------------------

    def _fits(self, request: Request) -> bool:
        """Say whether a request is within the limits that are known by now."""
        return parts.fits(request, self.limits, self._governor.most_tokens)

    async def _in_parts(self, request: Request) -> Answer:
        """Embed the parts of a request that is not accepted whole, down to single inputs."""
        some = parts.parts(request, self.limits)
        answers = await _all([self._embed(part) for part in some])
        return parts.joined(answers, [len(part) for part in some])

    def _take_to_heart(self, request: Request, refused: _Refused) -> None:
        """Learn a limit from a refusal, or raise where refusals have become too many."""
        if refused.size:
            if len(request) > 1:
                self._learn_limit(request, refused.words)
            return
        if not self._successes:
            self._hopeless += 1
            if self._hopeless >= FIRST_REFUSED and (
                len(request) == 1 or refused.cause == "bad answer"
            ):
                raise PersonError(
                    f"nothing that was sent is accepted: {refused.reason}",
                    where=shown(self.endpoint.url),
                    hint="check the model and the options, such as --dimensions and --extra; "
                    "--encoding-format float for servers that refuse base64",
                )
        self._splits += len(request) > 1
        if self._splits > max(MOST_SPLITS, self._sent // 20):
            raise PersonError(
                f"too many inputs are refused, the last with: {refused.reason}",
                where=shown(self.endpoint.url),
                hint="look at the rejected rows; what is done so far is kept",
            )

    def _refused_alone(self, reason: str) -> Answer:
        nothing = np.empty((0, self.dimensions or 0), np.float32)
        return Answer(nothing, self.model or "", Usage(), (), (), ((0, reason),))

    def _learn_limit(self, request: Request, words: str) -> None:
        learned, what = parts.learned(request, self.limits, words)
        if learned != self.limits:
            self.limits = learned
            self._note(f"the endpoint takes {what} in one request", "info")

    # Words ------------------------------------------------------------------------------------

    def _person(self, refusal: Refusal) -> PersonError:
        endpoint, encoding = self.endpoint, self._encodings[0]
        advice = hint(refusal, endpoint.model, endpoint.key_advice, encoding)
        return PersonError(str(refusal), where=shown(self.endpoint.url), hint=advice)

    def _later(self, what: str) -> LaterError:
        return LaterError(
            what,
            where=shown(self.endpoint.url),
            hint="run the same command again later; `tovec config check` tries the endpoint",
        )

    def _gone(self, failure: TransportFailure) -> LaterError | PersonError:
        where, detail = shown(self.endpoint.url), self._blotted(failure.detail)
        if failure.kind == "fatal":
            return PersonError(detail, where=where, hint=failure.hint)
        return LaterError(
            f"the endpoint cannot be reached: {detail}",
            where=where,
            hint=failure.hint
            or "`tovec config check` tries it step by step; then run the same command again",
        )

    def _blotted(self, text: str) -> str:
        return text if self._key is None or not text else self._key.blot(text)

    def _note(self, text: str, level: str = "warning") -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._observe(Note(text, level))


async def _all(works: list[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Give what all works give: side by side in an event loop, one by one where there is none."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return [await work for work in works]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # what came after came because of it
    return [task.result() for task in tasks]


def cut(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Give the first dimensions of each vector, L2-normalised again.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning".
    """
    part = vectors[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    result: NDArray[np.float32] = (part / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return result
