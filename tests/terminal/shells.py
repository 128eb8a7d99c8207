"""The three shells with the completion files loaded, typed into at a pseudo-terminal.

`tovec` is a stand-in that notes its arguments, and so is every Python: what a TAB starts shows.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.terminal.console import Console

FILES = Path(__file__).parents[2] / "completions"
SHELLS = ("bash", "zsh", "fish")
_STAND_IN = """\
#!/bin/sh
printf '%s\\n' "${0##*/}" "$@" >> "$NOTED"
echo end-of-command
"""


class Shell:
    """An interactive shell, in a directory of its own."""

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        self.noted = place / "noted"
        self._install(name, place)
        command = {
            "bash": ["bash", "--noprofile", "--rcfile", str(place / "rc"), "-i"],
            "zsh": ["zsh", "-i"],
            "fish": ["fish", "--interactive"],
        }[name]
        env = {
            "PATH": f"{place / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(place),
            "ZDOTDIR": str(place),
            "XDG_CONFIG_HOME": str(place / "config"),
            "XDG_DATA_HOME": str(place / "data"),
            "NOTED": str(self.noted),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "TOVEC_TEST_VARIABLE": "1",
        }
        here = os.getcwd()
        os.chdir(place / "work")
        try:
            self.console = Console(command, env)
        finally:
            os.chdir(here)
        self.run("tovec ready")

    def _install(self, name: str, place: Path) -> None:
        """Put the files where a user would, and the stand-ins first on PATH."""
        for folder in ("bin", "work", "zfunc", "config/fish/completions", "data"):
            (place / folder).mkdir(parents=True)
        # Fish would read all man pages of the machine, with Python, when it starts anew.
        (place / "data/fish/generated_completions").mkdir(parents=True)
        for program in ("tovec", "python", "python3"):
            path = place / "bin" / program
            path.write_text(_STAND_IN)
            path.chmod(0o755)
        (place / "rc").write_text(
            f"PS1='ready> '\nbind 'set bell-style none'\n. {FILES}/tovec.bash\n"
        )
        shutil.copy(FILES / "_tovec", place / "zfunc")
        (place / ".zshrc").write_text(
            "PS1='ready> '\nfpath+=~/zfunc\nautoload -Uz compinit\ncompinit -u\n"
        )
        shutil.copy(FILES / "tovec.fish", place / "config/fish/completions")
        (place / "config/fish/config.fish").write_text(
            "function fish_prompt; echo 'ready> '; end\nset -g fish_greeting\n"
            "set -g fish_autosuggestion_enabled 0\n"
        )

    def run(self, keys: str) -> list[str]:
        """Type keys and Enter; give the arguments that the program then had."""
        self.noted.write_text("")
        before = len(self.console.seen)
        self.console.type(keys + "\r")
        self.console.wait_for(b"end-of-command\r\n", before)
        ran = self.noted.read_text().splitlines()
        assert ran[0] == "tovec", f"a TAB started {ran[0]}"
        assert ran.count("tovec") == 1
        return ran[1:]

    def close(self) -> None:
        """Close the terminal's window."""
        self.console.__exit__()
