"""The numbers that an output stores: checked against its format and the model, before all else."""

from __future__ import annotations

from tovec.errors import UsageError
from tovec.events import Note, Observer
from tovec.formats.quantised import INTEGERS, check_dimensions
from tovec.formats.truncation import check_longer
from tovec.pipeline.connect import Connection
from tovec.pipeline.destination import Target


def check_number_types(target: Target, connection: Connection, observer: Observer) -> None:
    """Raise UsageError for numbers that the format or the model does not allow."""
    write, dimensions = target.write, connection.dimensions
    _check_format(target)
    if write.truncate_dim is not None:
        check_longer(dimensions, write.truncate_dim)
        if (doubt := _doubt(connection, force=write.force_truncate)) is not None:
            observer(doubt)
        dimensions = write.truncate_dim
    elif write.force_truncate:
        raise UsageError("--force-truncate needs --truncate-dim")
    for dtype in (target.dtype, write.also):
        check_dimensions(dimensions, dtype)


def _check_format(target: Target) -> None:
    if target.write.parquet_list is not None and target.format_name != "parquet":
        raise UsageError(
            f"--parquet-list is about Parquet, and {target.format_name} is written",
            hint="name the output OUT.parquet, or add --format parquet",
        )
    if target.int8_scale is None:
        return
    if target.dtype not in INTEGERS:
        raise UsageError(
            f"--int8-scale is for int8 and uint8, not for {target.dtype}",
            hint="add --dtype int8",
        )
    if target.int8_scale == "dimension" and target.format_name == "jsonl":
        raise UsageError(
            "JSON lines cannot store the scale of each dimension",
            hint="write .parquet or .npy, or leave --int8-scale out",
        )


def _doubt(connection: Connection, *, force: bool) -> Note | None:
    """Return what there is to say of a model that may not be made for truncation.

    Raises UsageError for one that is not known to be, without `force`.
    """
    name, is_made_for_it = connection.client.endpoint.model, connection.model.matryoshka
    if is_made_for_it:
        if force:
            raise UsageError(f"--force-truncate does nothing: {name} may be truncated")
        return None
    known = "is not" if is_made_for_it is False else "is not known to be"
    what = f"{name} {known} a Matryoshka model: the first dimensions may say little of a text"
    if not force:
        raise UsageError(what, hint="--force-truncate truncates its vectors anyway")
    return Note(what)
