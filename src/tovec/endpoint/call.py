"""Inputs to an HTTP call: address, headers with the key, body, byte cap, deadline."""

from __future__ import annotations

from collections.abc import Mapping

from tovec import __version__
from tovec.endpoint import wire
from tovec.endpoint.address import Endpoint
from tovec.endpoint.credentials import Secret
from tovec.endpoint.transport import Call
from tovec.records import Inputs

MAX_FIRST_BYTES = 64 << 20  # of an answer, while the vectors' dimensions are not known ...
FIRST_DIMENSIONS = 4096  # ... or as many as this takes
MAX_ATTEMPT_SECONDS = 600.0
MIN_ATTEMPT_SECONDS = 30.0
LIST_SECONDS = 60.0
MAX_LIST_BYTES = 16 << 20


class Caller:
    """Makes the calls to one endpoint. `timeout` holds for each attempt, if the user set one."""

    def __init__(self, endpoint: Endpoint, key: Secret | None, timeout: float | None) -> None:
        self._endpoint, self._key, self._timeout = endpoint, key, timeout
        self._latency = 0.0  # seconds, a moving average

    def embeddings(
        self, inputs: Inputs, fields: Mapping[str, object], width: int, stretch: float = 1.0
    ) -> Call:
        """Return the call that asks for the vectors of inputs.

        `width` are the dimensions that are received, 0 while they are not known; `stretch`
        multiplies the deadline.
        """
        # Enough for numbers written in full; vectors are received wider than they are cut here.
        cap = (64 << 10) + len(inputs) * ((width or FIRST_DIMENSIONS) * 32 + 512)
        return Call(
            "POST",
            self._endpoint.url,
            {**self._headers(), "content-type": "application/json"},
            wire.encode(inputs, fields),
            self._deadline(len(inputs), stretch),
            cap if width else max(cap, MAX_FIRST_BYTES),
        )

    def models(self, url: str) -> Call:
        """Return the call that asks for the list of models."""
        return Call("GET", url, self._headers(), b"", LIST_SECONDS, MAX_LIST_BYTES)

    def learn_latency(self, seconds: float) -> None:
        """Take note of how long an answer took."""
        self._latency += (seconds - self._latency) * (0.2 if self._latency else 1.0)

    def _headers(self) -> dict[str, str]:
        found = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"tovec/{__version__}",
        }
        if self._key is not None:
            provider = self._endpoint.provider
            found[provider.key_header.lower()] = provider.key_prefix + self._key.reveal()
        return found

    def _deadline(self, items: int, stretch: float) -> float:
        if self._timeout is not None:
            return self._timeout
        usual = 20.0 + 0.25 * items + 6 * self._latency
        usual = max(MIN_ATTEMPT_SECONDS, min(MAX_ATTEMPT_SECONDS, usual))
        return min(MAX_ATTEMPT_SECONDS, usual * stretch)
