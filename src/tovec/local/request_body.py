"""A request's body: its fields checked one by one, its texts read by the model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import orjson

from tovec.errors import UsageError
from tovec.local.embedded import MAX_TEXT_TOKENS
from tovec.local.local_model import LocalModel, ReadTexts
from tovec.text import tokens

MAX_ITEMS = 2048
MAX_ITEM_TOKENS = MAX_TEXT_TOKENS  # of the embedded model
MAX_TOKENS = 300_000
MAX_BODY = 32 << 20  # bytes; 300,000 tokens of text that is escaped as \uXXXX take a tenth of it

FIELDS = {
    *("input", "model", "dimensions", "encoding_format", "user"),
    "safety_identifier",  # Aivene's alias of `user`
}
ANY_NAME = "*"  # an alias: every model's name


class ServedModel(NamedTuple):
    """A model behind the API, and the names beside its own by which it may be asked.

    `prompt` stands before the texts of requests that name none.
    """

    model: LocalModel
    aliases: tuple[str, ...] = ()
    prompt: str | None = None

    @property
    def names(self) -> list[str]:
        """Return the model's id, its name without the version, and its aliases."""
        named = [self.model.id, self.model.id.partition("@")[0], *self.aliases]
        return [name for name in dict.fromkeys(named) if name != ANY_NAME]

    def is_alias(self, name: str) -> bool:
        """Return whether it is another model's name that clients may use."""
        return name in self.aliases or (ANY_NAME in self.aliases and name not in self.names[:2])


class Refused(Exception):  # noqa: N818 - it describes a request
    """A request that gets an error object instead of vectors."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind
        self.headers = headers or {}


class Asked(NamedTuple):
    """A request that has passed every check; `tokens` as a bill counts them."""

    model: str  # as it was asked for
    texts: ReadTexts
    tokens: int
    dimensions: int
    base64: bool


def parse_body(body: bytes, served: ServedModel) -> Asked:
    """Return what a body asks for. Raises Refused."""
    try:
        fields = orjson.loads(body)
    except ValueError:
        raise Refused(400, "The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Refused(400, "The body must be a JSON object.", code="invalid_type")
    if unknown := fields.keys() - FIELDS - ({"prompt"} if served.model.prompts else set()):
        field = min(unknown)[:100]
        message = f"Unrecognized request argument supplied: {field}"
        raise Refused(400, message, param=field, code="unknown_parameter")
    for field in ("model", "input"):
        if field not in fields:
            message = f"Missing required parameter: '{field}'."
            raise Refused(400, message, param=field, code="missing_required_parameter")
    name = check_model(fields["model"], served)
    for field in ("user", "safety_identifier", "prompt"):
        if not isinstance(fields.get(field), str | None):
            raise _wrong_type(field, "a string")
    dimensions = _dimensions(fields.get("dimensions"), served.model.dimensions)
    base64 = _encoding(fields.get("encoding_format")) == "base64"
    texts, counts = _Inputs(served, name, fields.get("prompt") or served.prompt).read(
        fields["input"]
    )
    if sum(counts) > MAX_TOKENS:
        message = f"Requested {sum(counts)} tokens, max {MAX_TOKENS} tokens per request."
        raise Refused(400, message, param="input", code="max_tokens_per_request")
    return Asked(name, texts, sum(counts), dimensions, base64)


def check_model(model: object, served: ServedModel) -> str:
    """Return the name, if the served model has it. Raises Refused."""
    if not isinstance(model, str):
        raise _wrong_type("model", "a string")
    if model not in served.names and not served.is_alias(model):
        message = f"The model `{model[:100]}` does not exist; this server has `{served.model.id}`."
        raise Refused(404, message, param="model", code="model_not_found")
    return model


def _dimensions(value: object, most: int) -> int:
    if value is None:
        return most
    value = _whole([value])[0]
    if type(value) is not int:  # True is an int for isinstance
        raise _wrong_type("dimensions", "an integer")
    if not 1 <= value <= most:
        code = "integer_below_min_value" if value < 1 else "integer_above_max_value"
        message = f"Invalid 'dimensions' = {value}: must be from 1 to {most}."
        raise Refused(400, message, param="dimensions", code=code)
    return value


def _encoding(value: object) -> str:
    if value not in (None, "float", "base64"):
        message = "Invalid 'encoding_format': supported values are 'float' and 'base64'."
        raise Refused(400, message, param="encoding_format", code="invalid_value")
    return str(value or "float")


class _Inputs(NamedTuple):
    """How the field `input` is read: by which model, by which of its names, after which prompt."""

    served: ServedModel
    name: str
    prompt: str | None

    def read(self, value: object) -> tuple[ReadTexts, list[int]]:
        """Return the texts, whichever of four forms they have, and their token counts."""
        several: Any = [value] if isinstance(value, str) else value
        if not isinstance(several, list):
            raise _wrong_type("input", "a string or an array")
        if not several:
            raise Refused(400, "Invalid 'input': empty array.", param="input", code="empty_array")
        kinds = set(map(type, several))
        single = kinds <= {int, float} or isinstance(value, str)
        if kinds <= {int, float}:
            several, kinds = [several], {list}
        if len(several) > MAX_ITEMS:
            message = f"array too long: {len(several)} inputs, at most {MAX_ITEMS} are allowed."
            raise _invalid("input", message, "array_above_max_length")
        names = ["input"] if single else [f"input[{i}]" for i in range(len(several))]
        if kinds == {str}:
            read = self._texts(several, names)
            return read, read.counts
        if kinds == {list}:
            return self._tokens(list(map(_whole, several)), names)
        raise _wrong_type("input", "one kind: strings, token ids, or arrays of token ids")

    def _texts(self, texts: list[str], names: list[str]) -> ReadTexts:
        model = self.served.model
        for name, text in zip(names, texts, strict=True):
            if not text:
                raise _invalid(name, "input cannot be an empty string.", "empty_string")
            if model.max_text_characters is not None and len(text) > model.max_text_characters:
                raise _too_long(name, model.max_text_tokens())  # sure without counting
        try:
            read, most = model.read(texts, self.prompt), model.max_text_tokens(self.prompt)
        except UsageError as error:
            message = "; ".join(filter(None, (error.what, error.hint)))
            raise Refused(400, message, param="prompt", code="invalid_value") from None
        for name, count in zip(names, read.counts, strict=True):
            if count > most:
                raise _too_long(name, most)
            if not count:
                raise _invalid(name, "the model knows none of its tokens.", "no_known_tokens")
        return read

    def _tokens(self, several: list[list[Any]], names: list[str]) -> tuple[ReadTexts, list[int]]:
        """Read what the ids of cl100k_base stand for; clients send them to OpenAI's models."""
        if not (self.served.model.reads_cl100k or self.served.is_alias(self.name)):
            raise _wrong_type("input", "strings: this model has another tokenizer than cl100k_base")
        texts, counts = _token_texts(several, names), list(map(len, several))
        if self.served.model.reads_cl100k:
            return self.served.model.read(texts), counts
        read = self._texts(texts, names)
        return read, read.counts


def _token_texts(several: list[list[Any]], names: list[str]) -> list[str]:
    """Return the texts that token ids stand for: they get the vectors which the texts get."""
    for name, ids in zip(names, several, strict=True):
        if not ids:
            raise _invalid(name, "empty array.", "empty_array")
        if len(ids) > MAX_ITEM_TOKENS:
            raise _too_long(name, MAX_ITEM_TOKENS)
    if set(map(type, chain.from_iterable(several))) != {int}:
        raise _wrong_type("input", "arrays of integer token ids")
    for name, ids in zip(names, several, strict=True):
        if min(ids) < 0 or max(ids) >= tokens.VOCABULARY_SIZE:
            message = f"token ids are from 0 to {tokens.VOCABULARY_SIZE - 1} (cl100k_base)."
            raise _invalid(name, message, "invalid_token")
    return [tokens.decode_bytes(ids).decode(errors="replace") for ids in several]


def _whole(values: list[Any]) -> list[Any]:
    """Return the numbers with 5.0 as 5: JSON knows no other difference between the two."""
    if float not in set(map(type, values)):
        return values
    return [int(v) if type(v) is float and v.is_integer() else v for v in values]


def _too_long(name: str, most: int) -> Refused:
    message = f"maximum input length is {most} tokens."
    return _invalid(name, message, "context_length_exceeded")


def _invalid(name: str, message: str, code: str) -> Refused:
    return Refused(400, f"Invalid '{name}': {message}", param=name, code=code)


def _wrong_type(name: str, wanted: str) -> Refused:
    message = f"Invalid type for '{name}': expected {wanted}."
    return Refused(400, message, param=name, code="invalid_type")
