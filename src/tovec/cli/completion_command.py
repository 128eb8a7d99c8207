"""The command `tovec completion`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from tovec.cli.options import Common
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument
from tovec.errors import FileError

# Where the wheel puts the files, under the prefix; a checkout has them in completions/.
INSTALLED = {
    "bash": "share/bash-completion/completions/tovec",
    "zsh": "share/zsh/site-functions/_tovec",
    "fish": "share/fish/vendor_completions.d/tovec.fish",
}
IN_CHECKOUT = {"bash": "tovec.bash", "zsh": "_tovec", "fish": "tovec.fish"}


def completion(
    reporter: Reporter,  # noqa: ARG001 - set up by `flatten`
    common: Common,  # noqa: ARG001 - the same
    shell: Annotated[Literal["bash", "zsh", "fish"], argument("bash|zsh|fish", "The shell.")],
) -> None:
    """Print the completion file of a shell, to put where the shell looks for it.

    The file is static: it starts no program when TAB is pressed.

    tovec completion bash > ~/.tovec.bash    # then in ~/.bashrc: . ~/.tovec.bash

    tovec completion zsh > ~/.zfunc/_tovec   # fpath+=~/.zfunc before compinit

    tovec completion fish > ~/.config/fish/completions/tovec.fish
    """
    for path in _candidates(shell):
        if path.is_file():
            sys.stdout.write(path.read_text(encoding="utf-8"))
            return
    raise FileError(
        "this installation lacks the completion files",
        hint="they are in the folder completions/ of the source",
    )


def _candidates(shell: str) -> Iterator[Path]:
    yield Path(__file__).parents[3] / "completions" / IN_CHECKOUT[shell]
    from importlib.metadata import PackageNotFoundError, files

    try:
        installed = files("tovec") or []
    except PackageNotFoundError:  # run from a single file
        return
    for file in installed:
        if file.as_posix().endswith(INSTALLED[shell]):
            yield Path(str(file.locate()))
