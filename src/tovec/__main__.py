"""`python -m tovec` and the `tovec` script."""

from __future__ import annotations

import sys
from typing import NoReturn


class _WithoutPandas:
    """Keeps pandas out of the process.

    Where it is installed, pyarrow imports it with its first array, to look for objects of its that
    never come here: 0.2 s of each run.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Say that there is no pandas; others are to be asked about everything else."""
        if name == "pandas":
            raise ModuleNotFoundError("tovec does without pandas", name=name)


def main() -> NoReturn:
    """Run tovec's command line."""
    sys.meta_path.insert(0, _WithoutPandas)
    from tovec.cli.app import main

    main()


if __name__ == "__main__":
    main()
