"""The errors with which an endpoint ends a run, worded for a user."""

from __future__ import annotations

from collections.abc import Callable

from tovec.endpoint.address import Endpoint, shown
from tovec.endpoint.outcomes import Ending, Stop
from tovec.endpoint.refusal import Refusal, TransportFailure, hint
from tovec.errors import LaterError, PersonError


class RunErrors:
    """Makes errors that name one endpoint; `blot` takes the key out of what others say."""

    def __init__(self, endpoint: Endpoint, blot: Callable[[str], str]) -> None:
        self._endpoint, self._blot = endpoint, blot

    def refused(self, refusal: Refusal, encoding: str | None) -> PersonError:
        """Return the error for a refusal, with what to do about it.

        `encoding` is the form of the vectors that was asked for.
        """
        endpoint = self._endpoint
        advice = hint(refusal, endpoint.model, endpoint.key_advice, encoding)
        return PersonError(str(refusal), where=shown(endpoint.url), hint=advice)

    def unreachable(self, failure: TransportFailure) -> LaterError | PersonError:
        """Return the error for an endpoint that gives no answer."""
        where, detail = shown(self._endpoint.url), self._blot(failure.detail)
        if failure.kind == "fatal":
            return PersonError(detail, where=where, hint=failure.hint)
        return LaterError(
            f"the endpoint cannot be reached: {detail}",
            where=where,
            hint=failure.hint
            or "`tovec config check` tries it step by step; then run the same command again",
        )

    def stopped(self, stop: Stop) -> PersonError | LaterError:
        """Return the error that the retry policy words itself."""
        if stop.ending is Ending.PERSON:
            return PersonError(stop.what, where=shown(self._endpoint.url), hint=stop.hint)
        return self.later(stop.what)

    def later(self, what: str) -> LaterError:
        """Return the error for an endpoint that may work later."""
        return LaterError(
            what,
            where=shown(self._endpoint.url),
            hint="run the same command again later; `tovec config check` tries the endpoint",
        )
