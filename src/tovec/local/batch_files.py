"""The files of `/v1/files`: uploaded as multipart forms, kept on disk until they are deleted.

Their contents are in a temporary directory of the server, their descriptions in its memory: both
end with the server. A body is never read into memory whole.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tovec.local.request_body import Refused

MAX_FILE_BYTES = 200 << 20  # of an uploaded file; the create-file reference
MAX_FORM_BYTES = MAX_FILE_BYTES + (64 << 10)  # of the form around it
MIN_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS = 3_600, 2_592_000
COPIED_BYTES = 1 << 20  # at once

Fields = dict[str, object]
Clock = Callable[[], float]


class StoredFile(NamedTuple):
    """One file: what is said of it, and where its bytes are."""

    id: str
    path: Path
    filename: str
    purpose: str
    created: int
    expires: int | None = None

    def described(self) -> Fields:
        """Return the file object of the API."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.path.stat().st_size,
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class FileShelf:
    """All files of a server, newest first in lists. Their directory is made for the first."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._directory: Path | None = None
        self._files: dict[str, StoredFile] = {}
        self._lock = threading.Lock()

    def upload(self, content_type: str, body: BinaryIO) -> StoredFile:
        """Store the file of a form. Raises Refused for a form that cannot be meant."""
        if body.seek(0, os.SEEK_END) == 0:
            raise Refused(400, "The form is empty.", param="file", code="missing_file")
        with mmap.mmap(body.fileno(), 0, access=mmap.ACCESS_READ) as form:
            parts = _parts(form, _boundary(content_type))
            values = {
                name: form[part.start : part.end].decode(errors="replace")
                for name, part in parts.items()
                if name != "file"
            }
            file = parts.get("file")
            if file is None:
                raise Refused(400, "'file' is a required property", param="file")
            purpose = values.get("purpose")
            if purpose != "batch":
                message = f"'{str(purpose)[:100]}' is not one of ['batch'] - 'purpose'"
                raise Refused(400, message, param="purpose", code="invalid_value")
            if not file.filename.endswith(".jsonl"):
                message = "Invalid file format: batches take files of the extension .jsonl."
                raise Refused(400, message, param="file", code="invalid_file_format")
            if file.end - file.start > MAX_FILE_BYTES:
                message = f"File is too large: at most {MAX_FILE_BYTES} bytes."
                raise Refused(413, message, param="file", code="file_too_large")
            expires = expiry(
                values.get("expires_after[anchor]"), values.get("expires_after[seconds]")
            )
            path = self._new_path()
            with path.open("xb") as target:
                for start in range(file.start, file.end, COPIED_BYTES):
                    target.write(form[start : min(start + COPIED_BYTES, file.end)])
        return self.add(path, file.filename, purpose, expires)

    def new_output(self) -> Path:
        """Return the path of a file that is being made; `add` makes it known."""
        return self._new_path()

    def add(
        self, path: Path, filename: str, purpose: str, expires_after: int | None = None
    ) -> StoredFile:
        """Make a file known."""
        now = int(self._clock())
        expires = None if expires_after is None else now + expires_after
        file = StoredFile(f"file-{path.name}", path, filename, purpose, now, expires)
        with self._lock:
            self._files[file.id] = file
        return file

    def find(self, name: str) -> StoredFile:
        """Return a file. Raises Refused where there is none (any more)."""
        self._remove_expired()
        with self._lock:
            file = self._files.get(name)
        if file is None:
            raise Refused(404, f"No such File object: {name[:100]}", param="id")
        return file

    def delete(self, name: str) -> Fields:
        """Remove a file; return the API's word of it."""
        file = self.find(name)
        with self._lock:
            self._files.pop(name, None)
        file.path.unlink(missing_ok=True)
        return {"id": name, "object": "file", "deleted": True}

    def list(self, query: Mapping[str, str]) -> Fields:
        """Return a page of the files."""
        self._remove_expired()
        with self._lock:
            files = list(self._files.values())
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise Refused(400, "'order' is asc or desc.", param="order", code="invalid_value")
        if order == "desc":
            files.reverse()
        if purpose := query.get("purpose"):
            files = [one for one in files if one.purpose == purpose]
        return page([one.described() for one in files], query, 10_000, 10_000)

    def close(self) -> None:
        """Remove all files."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _new_path(self) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="tovec-serve-"))
        return self._directory / os.urandom(12).hex()

    def _remove_expired(self) -> None:
        now = self._clock()
        with self._lock:
            gone = [
                one for one in self._files.values() if one.expires is not None and one.expires < now
            ]
            for one in gone:
                del self._files[one.id]
        for one in gone:
            one.path.unlink(missing_ok=True)


def page(items: Sequence[Fields], query: Mapping[str, str], default: int, most: int) -> Fields:
    """Return the items after the one that `after` names, `limit` of them, as a list object."""
    said = query.get("limit", str(default))
    limit = int(said) if re.fullmatch(r"[0-9]{1,9}", said) else 0
    if not 1 <= limit <= most:
        message = f"Invalid 'limit': expected a value from 1 to {most}."
        raise Refused(400, message, param="limit", code="invalid_value")
    start = 0
    if after := query.get("after"):
        places = [i for i, one in enumerate(items) if one["id"] == after]
        if not places:
            raise Refused(404, f"No such object: {after[:100]}", param="after")
        start = places[0] + 1
    data = items[start : start + limit]
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": start + limit < len(items),
    }


def expiry(anchor: object, seconds: object) -> int | None:
    """Return after how many seconds a file goes; None where nothing is said. Raises Refused."""
    if anchor is None and seconds is None:
        return None
    text = str(seconds)
    if anchor != "created_at" or not re.fullmatch(r"[0-9]{1,9}", text):
        message = "'expires_after' takes the anchor 'created_at' and whole seconds."
        raise Refused(400, message, param="expires_after", code="invalid_value")
    if not MIN_EXPIRY_SECONDS <= int(text) <= MAX_EXPIRY_SECONDS:
        message = f"'seconds' must be from {MIN_EXPIRY_SECONDS} to {MAX_EXPIRY_SECONDS}."
        raise Refused(400, message, param="expires_after", code="invalid_value")
    return int(text)


class _Part(NamedTuple):
    """A field of a form: its content's place in the body, and its file name."""

    start: int
    end: int
    filename: str


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        said = content_type[:100] or "absent"
        problem = f"The content-type must be multipart/form-data with a boundary, not {said}."
        raise Refused(415, problem, code="unsupported_media_type")
    return b"--" + boundary.encode("latin-1", "replace")


def _parts(form: mmap.mmap, boundary: bytes) -> dict[str, _Part]:
    """Return the fields of a form by name. Raises Refused for one that is not whole."""
    torn = Refused(400, "The form is not whole.", code="invalid_form")
    found: dict[str, _Part] = {}
    at = form.find(boundary)
    while True:
        at += len(boundary)
        if at < len(boundary):
            raise torn
        if form[at : at + 2] == b"--":
            return found
        headers_end = form.find(b"\r\n\r\n", at)
        end = form.find(b"\r\n" + boundary, headers_end + 4)
        if headers_end < 0 or end < 0:
            raise torn
        headers = BytesHeaderParser().parsebytes(form[at + 2 : headers_end + 4])
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise torn
        found[name] = _Part(headers_end + 4, end, headers.get_filename() or "")
        at = end + 2
