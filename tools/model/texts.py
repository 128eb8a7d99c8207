"""What the embedded model is made from: token strings and WordNet's sentences.

The strings are the cl100k tokens that are words or parts of words in Latin script; the sentences
are WordNet's examples, definitions and "word: definition" lines (Princeton University, a
permissive licence; Debian's package wordnet-base holds the files).
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from pathlib import Path


def token_strings(vocabulary: Path) -> tuple[list[str], dict[int, int]]:
    """Give the distinct strings, in order of their lowest token id, and token id -> string.

    A token counts when its bytes are UTF-8 and, stripped and lowercased, it is alphanumeric Latin.
    """
    strings: dict[str, int] = {}
    rows: dict[int, int] = {}
    for line in vocabulary.read_bytes().splitlines():
        encoded, rank = line.split()
        try:
            text = b64decode(encoded).decode().strip().lower()
        except UnicodeDecodeError:
            continue
        if text and text.isalnum() and all(map(_is_latin, text)):
            rows[int(rank)] = strings.setdefault(text, len(strings))
    return list(strings), rows


def _is_latin(character: str) -> bool:
    return character.isdigit() or unicodedata.name(character, "").startswith("LATIN")


def wordnet_texts(directory: Path) -> list[str]:
    """Give WordNet's texts in the files' order, without repetitions.

    Each synset gives its examples and, in turn, its definition alone or after its first word.
    """
    texts: dict[str, None] = {}
    for part in ("noun", "verb", "adj", "adv"):
        lines = (directory / f"data.{part}").read_text(encoding="utf-8").splitlines()
        synsets = [line for line in lines if not line.startswith("  ")]
        for number, line in enumerate(synsets):
            head, _, gloss = line.partition(" | ")
            word = head.split()[4].replace("_", " ").partition("(")[0]
            examples = re.findall(r'"([^"]+)"', gloss)
            definition = re.sub(r'[;:]?\s*"[^"]*"?', "", gloss).strip(" ;")
            if definition:
                texts[f"{word}: {definition}" if number % 2 else definition] = None
            texts.update(dict.fromkeys(example.strip() for example in examples))
    return [text for text in texts if len(text) > 3]
