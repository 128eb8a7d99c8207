"""`python -m tovec` and the `tovec` script."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run tovec's command line."""
    from tovec.cli.app import main

    main()


if __name__ == "__main__":
    main()
