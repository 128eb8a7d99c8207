"""The providers: who answers where, with what limits and habits.

Facts live in `providers.toml` with their source; a user's config adds or overrides rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tovec.records import Limits


@dataclass(frozen=True, slots=True)
class Provider:
    """One endpoint's facts. A field that is None is not known, unless it says otherwise."""

    name: str
    base_url: str | None  # None: the user gives it (azure, custom)
    path: str = "/embeddings"
    models_path: str | None = "/models"
    key_env: str | None = None  # None: takes no key
    key_required: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    key_command: tuple[str, ...] | None = None
    key_file: str | None = None
    default_model: str | None = None
    limits: Limits = field(default_factory=Limits)
    base64: bool | None = None  # whether encoding_format=base64 is understood
    encoding_field: str | None = "encoding_format"  # None: the field is never sent
    dimensions_field: str | None = "dimensions"  # None: dimensions cannot be asked for
    token_inputs: bool | None = None  # whether arrays of token ids are understood
    query: dict[str, str] = field(default_factory=dict)  # Azure's api-version
    in_process: bool = False  # the embedded model
    docs: str = ""
    verified: bool = False
