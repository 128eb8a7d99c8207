"""How long TAB takes in each shell: from the key to the completed word on the terminal.

    python -m benchmarks.completions [--runs N]

The shells run on a pseudo-terminal with the files of completions/ as a user would install them.
The first TAB also reads the completion file; it is shown by itself.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.terminal.shells import SHELLS, Shell

# Typed, and what appears where it is completed: a command, an option, a value, a file.
CASES = {
    "command": ("tovec emb", b"ed"),
    "option": ("tovec embed --encoding-e", b"rrors"),
    "value": ("tovec embed --provider siliconf", b"low"),
    "file": ("tovec embed -f ro", b"ws.jsonl"),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    runs = parser.parse_args().runs
    print(f"{'shell':<6} {'first TAB':>10}  " + "  ".join(f"{one:>14}" for one in CASES))
    for name in SHELLS:
        if shutil.which(name) is None:
            print(f"{name:<6} not installed")
            continue
        with tempfile.TemporaryDirectory() as place:
            shell = Shell(name, Path(place))
            (Path(place) / "work" / "rows.jsonl").touch()
            first = tab(shell, *CASES["command"])
            cells = []
            for typed, appears in CASES.values():
                took = sorted(tab(shell, typed, appears) for _ in range(runs))
                cells.append(f"{statistics.median(took):5.1f} (max {took[-1]:4.1f})")
            shell.close()
        print(f"{name:<6} {first:>7.1f} ms  " + "  ".join(f"{cell:>14}" for cell in cells))


def tab(shell: Shell, typed: str, appears: bytes) -> float:
    """Give the milliseconds from TAB until the rest of the word has appeared."""
    console = shell.console
    before = len(console.seen)
    console.type(typed)
    console.wait_for(typed[-1:].encode(), before)
    time.sleep(0.05)  # what the shell still draws must not be taken for the answer
    console.drain()
    before = len(console.seen)
    start = time.perf_counter()
    console.type("\t")
    took = console.wait_for(appears, before) - start
    console.type("\x15")
    time.sleep(0.02)
    return 1000 * took


if __name__ == "__main__":
    main()
