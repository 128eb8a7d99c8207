"""What an endpoint turned out to understand, and what its earlier answers hold later ones to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.endpoint.address import Endpoint, sent_fields, shown
from tovec.endpoint.outcomes import Field, Fields
from tovec.endpoint.refusal import BadAnswer
from tovec.errors import PersonError
from tovec.events import Level
from tovec.wording import count_phrase

MIN_LENGTH, MAX_LENGTH = 1e-3, 1e3  # of a vector: outside, it was read in the wrong format
OTHER_FORMAT = "--encoding-format float asks for plain numbers"
MIXED_MODELS = "vectors of two models must not mix; name a fixed version with -m"

Say = Callable[[str, Level], None]
"""Tells the user something, with its level, once."""


class Known(NamedTuple):
    """What is known of a model's vectors before the first answer.

    `dimensions` are those that it gives when none are asked for: others are an error, or a warning
    where `is_sure` is off (an address that may only claim the model's name). `may_be_cut` says
    that its vectors may be cut here, if the endpoint does not.
    """

    dimensions: int | None = None
    is_sure: bool = True
    may_be_cut: bool = False


class Dialect:
    """The fields to ask with, and the form of the vectors that come back."""

    def __init__(self, endpoint: Endpoint, known: Known, say: Say) -> None:
        self.model: str | None = None  # as the first answer names it
        self.dimensions: int | None = None  # of the vectors that are given on
        self.width = 0  # dimensions as they are received
        self.has_doubles = False  # whether base64 holds float64 (fault 44)
        self._endpoint, self._known, self._say = endpoint, known, say
        self._other_dimensions: int | None = None  # of the last answer that contradicted others
        self._asks_dimensions = endpoint.provider.dimensions_field is not None
        provider = endpoint.provider
        self._encodings: list[str | None] = [None, "float"]
        if endpoint.encoding is not None:
            self._encodings = [endpoint.encoding]
        elif provider.base64 is not False and provider.encoding_field is not None:
            self._encodings = ["base64", None, "float"]

    @property
    def encoding(self) -> str | None:
        """Return the encoding that is asked for."""
        return self._encodings[0]

    @property
    def fields(self) -> Mapping[str, object]:
        """Return what a request carries beside its inputs."""
        return sent_fields(self._endpoint, self.encoding, dimensions=self._asks_dimensions)

    @property
    def numbers(self) -> Mapping[str, object]:
        """Return the same fields, asking for vectors as numbers."""
        return sent_fields(self._endpoint, "float", dimensions=self._asks_dimensions)

    @property
    def asks_dimensions(self) -> bool:
        """Return whether requests name the dimensions they ask for."""
        return self._asks_dimensions and self._endpoint.dimensions is not None

    @property
    def optional(self) -> Fields:
        """Return the optional fields, for the retry policy."""
        endpoint = self._endpoint
        return Fields(
            endpoint.provider.encoding_field,
            self.encoding,
            len(self._encodings) > 1,
            endpoint.provider.dimensions_field,
            endpoint.dimensions,
            self._known.may_be_cut,
            tuple(endpoint.extra),
        )

    def drop(self, field: Field) -> None:
        """Ask without a field from now on."""
        if field is Field.DIMENSIONS:
            self._asks_dimensions = False
            return
        dropped = self._encodings.pop(0)
        then = self.encoding or "its default"
        self._say(
            f"the endpoint refuses encoding_format={dropped}: requesting {then} instead", "info"
        )

    # Vectors that contradict others -----------------------------------------------------------

    def use_numbers(self) -> None:
        """Take note that the endpoint's base64 holds float64: numbers are asked for instead."""
        self.has_doubles = True
        self._encodings = ["float"]
        self._say("the endpoint's base64 holds float64: requesting numbers instead", "warning")

    def accept(self, vectors: NDArray[np.float32], model: str) -> NDArray[np.float32]:
        """Return an answer's vectors in the dimensions that were asked for.

        They and the model's name never change in a run. Raises PersonError where they do, or are
        not what was asked for, and BadAnswer at the first answer of other dimensions.
        """
        self.width = max(self.width, vectors.shape[1])
        vectors = self._cut(vectors)
        self._check_known(vectors.shape[1] if self._endpoint.dimensions is None else None)
        self._check_equal(vectors.shape[1])
        self._check_length(vectors[0])
        self.model = self.model or model or None
        if model and model != self.model:
            raise self._error(
                f"the endpoint now answers with the model {model!r}, earlier with {self.model!r}",
                MIXED_MODELS,
            )
        return vectors

    def _cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        wanted, found = self._endpoint.dimensions, vectors.shape[1]
        if wanted is None or found == wanted:
            return vectors
        if found < wanted:
            raise self._error(f"the model has {_dimensions(found)}, not {wanted:,}")
        if not self._known.may_be_cut:
            raise self._error(
                f"the endpoint ignores --dimensions: it returned {found:,}, not {wanted:,}",
                "leave --dimensions out, or choose a model whose vectors may be cut",
            )
        self._say(
            f"the endpoint does not support --dimensions: tovec cuts {found:,} to {wanted:,}",
            "warning",
        )
        return cut(vectors, wanted)

    def _check_known(self, found: int | None) -> None:
        known = self._known.dimensions
        if found is None or known is None or known == found:
            return
        what = f"{self._endpoint.model} has {_dimensions(known)}, not {found:,}"
        advice = f"another model or number format? {OTHER_FORMAT}"
        if self._known.is_sure:
            raise self._error(what, advice)
        self._say(f"{what}: {advice}", "warning")

    def _check_equal(self, found: int) -> None:
        self.dimensions = self.dimensions or found
        if found == self.dimensions:
            return
        if found != self._other_dimensions:  # once may be a mix-up in between
            self._other_dimensions = found
            raise BadAnswer(f"an answer has {_dimensions(found)}, earlier ones {self.dimensions:,}")
        raise self._error(
            f"the endpoint now answers with {_dimensions(found)}, earlier with {self.dimensions:,}",
            MIXED_MODELS,
        )

    def _check_length(self, vector: NDArray[np.float32]) -> None:
        """Warn once about a vector that no model gives: numbers read in another format."""
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not MIN_LENGTH <= length <= MAX_LENGTH:
            self._say(
                f"a vector has the length {length:.3g}, which no known model gives: is it in "
                f"another number format? {OTHER_FORMAT}",
                "warning",
            )

    def _error(self, what: str, hint: str = "") -> PersonError:
        return PersonError(what, where=shown(self._endpoint.url), hint=hint)


def cut(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return the first dimensions of each vector, L2-normalised again.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning".
    """
    part = vectors[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    result: NDArray[np.float32] = (part / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return result


def _dimensions(number: int) -> str:
    return count_phrase(number, "dimension")
