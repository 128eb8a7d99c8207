"""What is searched: stored vectors as they are, or texts that are embedded first.

Vectors of two models are never compared: a file that says which model made it decides what its
queries are embedded with, and one that does not say needs the model to be named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import orjson

from tovec.endpoint import models, providers
from tovec.errors import PersonError, UsageError
from tovec.formats.quantised import BITS, as_bits, from_bits, shorten
from tovec.formats.rows import PlainRows
from tovec.records import Rows
from tovec.search.vector_files.stored import Stored, Vectors
from tovec.settings import Settings
from tovec.wording import count_phrase

ENDPOINT_FLAGS = ("model", "provider", "base_url", "url")
LOOKUP_ROWS = 4096  # rows' fields looked through at once


def fields_of(rows: Rows) -> list[dict[str, object]]:
    """Return the rows' fields; a plain line's number is told as the row's."""
    if isinstance(rows, PlainRows):
        return [{rows.name: value} for value in rows.values]
    return [orjson.loads(row) for row in rows.json()]


def settings_for(stored: Stored, settings: Settings) -> Settings:
    """Return the settings with which queries of stored vectors are embedded.

    Raises UsageError where the command line names another model than the file, or other
    dimensions, or nobody names one.
    """
    flags = {name for name in (*ENDPOINT_FLAGS, "dimensions") if _is_flag(settings, name)}
    if stored.model is None and not flags & set(ENDPOINT_FLAGS):
        raise UsageError(
            "the file does not say which model made its vectors",
            where=stored.source,
            hint="name it: -p NAME or --base-url URL, and -m ID",
        )
    if stored.model is not None:
        if _is_in_folder(stored, settings, flags):
            return _settings_for_folder(stored, settings, flags)
        if "model" in flags and settings.model != stored.model:
            raise UsageError(
                f"the vectors were made by {stored.model}, not by {settings.model}",
                where=stored.source,
                hint="leave -m out: the query is embedded with the file's model",
            )
        settings = settings._replace(model=stored.model)
        known = providers.load(settings.providers)
        if not flags & {"provider", "base_url", "url"} and stored.provider in known:
            settings = settings._replace(provider=stored.provider)
            if known[stored.provider or ""].base_url or known[stored.provider or ""].in_process:
                settings = settings._replace(base_url=None, url=None)
    whole = stored.truncated_from or stored.dimensions
    if "dimensions" in flags and settings.dimensions != whole:
        raise _other_dimensions(stored, settings.dimensions)
    native = models.find(settings.model).dimensions if settings.model else None
    asked = None if native == whole else whole
    if native is None and "dimensions" not in flags:
        asked = None  # nothing is known of the model: it most likely gives what it gave then
    return settings._replace(dimensions=asked)


def _is_in_folder(stored: Stored, settings: Settings, flags: set[str]) -> bool:
    """Return whether queries are embedded by a model in a folder, which the file cannot name."""
    named = settings.provider if "provider" in flags else stored.provider
    return named in providers.FOLDER_PROVIDERS and not flags & {"base_url", "url"}


def _settings_for_folder(stored: Stored, settings: Settings, flags: set[str]) -> Settings:
    """Return the settings for a model whose folder -m names; its id is compared once it is open."""
    provider = settings.provider if "provider" in flags else stored.provider
    if "model" not in flags:
        raise UsageError(
            f"the vectors were made by {stored.model}, a model in a folder",
            where=stored.source,
            hint=f"name the folder: -p {provider} -m DIR",
        )
    if "dimensions" in flags and settings.dimensions != stored.dimensions:
        raise _other_dimensions(stored, settings.dimensions)
    return settings._replace(
        provider=provider, base_url=None, url=None, dimensions=stored.dimensions
    )


def _other_dimensions(stored: Stored, asked: int | None) -> UsageError:
    whole = count_phrase(stored.truncated_from or stored.dimensions, "dimension")
    return UsageError(
        f"the vectors have {whole}, not {asked}",
        where=stored.source,
        hint="leave -d out: the query gets as many as the file has",
    )


def _is_flag(settings: Settings, name: str) -> bool:
    return str(settings.origins.get(name, "")).startswith("--")


def match_queries(stored: Stored, queries: Vectors) -> Vectors:
    """Return queries in the form of the vectors they are to search: truncated, or signs."""
    if stored.truncated_from is not None and queries.shape[1] == stored.truncated_from:
        queries = shorten(queries, stored.dimensions)
    if stored.dtype in BITS and queries.shape[1] == stored.dimensions:
        queries = from_bits(as_bits(queries, "ubinary"))
    return queries


def check_model(stored: Stored, model: str) -> None:
    """Raise UsageError when the model that will be asked is not the file's."""
    if stored.model is not None and model != stored.model:
        raise UsageError(
            f"the vectors were made by {stored.model}, the query would be by {model}",
            where=stored.source,
        )


def check_dimensions(stored: Stored, queries: Vectors, model: str) -> None:
    """Raise PersonError when queries have other dimensions than what they are to search."""
    if stored.rows and queries.shape[1] != stored.dimensions:
        raise PersonError(
            f"{model} gives {count_phrase(queries.shape[1], 'dimension')}, the stored vectors have "
            f"{stored.dimensions:,}: they cannot be compared",
            where=stored.source,
            hint=f"-d {stored.dimensions} asks for as many, if the same model made both",
        )


def find_rows(stored: Stored, ids: Sequence[str], field: str | None) -> list[int]:
    """Return the rows named by `ids`: by the field, else by the rows' `id`, else by number.

    Raises UsageError for an id that no row has, or more than one.
    """
    places: dict[str, list[int]] = {one: [] for one in dict.fromkeys(ids)}
    for first, fields in all_fields(stored):
        name = field or "id"
        if first == 0 and field is None and name not in (fields[0] if fields else {}):
            return [_find_number(stored, one) for one in ids]
        for row, one in enumerate(fields, first):
            value = one.get(name)
            if str(value) in places:
                places[str(value)].append(row)
    for wanted, rows in places.items():
        if len(rows) != 1:
            what = count_phrase(len(rows), "row has", "rows have") if rows else "no row has"
            raise UsageError(
                f"{what} the {field or 'id'} {wanted!r}",
                where=stored.source,
                hint="--id-field NAME says which field names a row",
            )
    return [places[one][0] for one in ids]


def _find_number(stored: Stored, name: str) -> int:
    if name.isdecimal():
        low, high = 0, stored.rows - 1  # numbers rise, so the row is found by halves
        while low <= high:
            middle = (low + high) // 2
            number = stored.number(middle)
            if number == int(name):
                return middle
            low, high = (middle + 1, high) if number < int(name) else (low, middle - 1)
    raise UsageError(
        f"there is no row {name!r}",
        where=stored.source,
        hint="rows are numbered from 0; --id-field NAME says which field names a row",
    )


def all_fields(stored: Stored) -> Iterator[tuple[int, list[dict[str, object]]]]:
    """Yield all rows' fields, some thousand at a time, with the first row's place."""
    for start in range(0, stored.rows, LOOKUP_ROWS):
        yield start, stored.fields(range(start, min(start + LOOKUP_ROWS, stored.rows)))


def merge_fields(
    ours: Mapping[str, object],
    fields: Mapping[str, object],
    columns: Sequence[str] | None,
    prefix: str = "row_",
    always: bool = False,
) -> dict[str, object]:
    """Return a result's values and, after them, the row's: renamed where both have a name."""
    if columns is not None:
        fields = {name: fields.get(name) for name in columns}
    row = dict(ours)
    for name, value in fields.items():
        row[prefix + name if always or name in ours else name] = value
    return row
