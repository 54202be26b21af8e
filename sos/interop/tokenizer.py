"""The tokenizer of an exported model: what `tokenizer.json` holds besides the vocabulary.

- `<bos>` is put in front of a text, as every stream begins with it.
- Ids decode to the text that `Dialect.text` gives: digits of a number are joined where the dialect writes them so.
- A word that is no token is an error, "Missing [UNK] token from the vocabulary": the vocabulary is closed. So is a
  number that is too large, where the dialect writes every number as one token: its digits would be other numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sos.stream.dialect.vocab import BOS, MOST_WHOLE, SPECIALS, Vocabulary

if TYPE_CHECKING:
    from sos.stream.dialect.compile import Dialect

UNKNOWN = "<unk>"  # what an unknown word would be; no vocabulary holds it, so that there can be none


def joins_digits(dialect: Dialect) -> bool:
    """Tell whether the text of a dialect has no blank between two numbers in a row, which are digits of one."""
    return bool(dialect.program.runs) and dialect.vocab.spaced


def exported_tokenizer(vocabulary: Vocabulary, joined: bool) -> Any:
    """Return the `tokenizers.Tokenizer` of an export; `joined` is what `joins_digits` says of the dialect."""
    from tokenizers import processors

    tokenizer = vocabulary.tokenizer()
    tokenizer.model.unk_token = UNKNOWN
    bos = SPECIALS[BOS]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B:1", special_tokens=[(bos, BOS)]
    )
    if joined:
        tokenizer.decoder = _joining(vocabulary)
    elif vocabulary.spaced:
        tokenizer.pre_tokenizer = _whole_numbers(vocabulary)
    return tokenizer


def _whole_numbers(vocabulary: Vocabulary) -> Any:
    """Return the pre-tokenizer that leaves a number whole, whatever its size."""
    from tokenizers import Regex, pre_tokenizers

    symbols = "|".join(re.escape(s) for s in sorted(vocabulary.symbols, key=len, reverse=True))
    blanks = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    return pre_tokenizers.Sequence([blanks, pre_tokenizers.Split(Regex(f"{symbols}|[0-9]+"), "isolated")])


def _joining(vocabulary: Vocabulary) -> Any:
    """Return the decoder that puts a blank between any two tokens but two numbers: numbers get a mark in front, by
    which they are known from symbols that end in a digit, and lose it at the end."""
    from tokenizers import Regex, decoders

    used = set("".join(vocabulary.tokens))
    mark, none = [chr(code) for code in range(0xE000, 0xE000 + len(used) + 2) if chr(code) not in used][:2]
    lengths = range(1, len(str(min(vocabulary.whole_max, MOST_WHOLE))) + 1)
    behind_number = "|".join(mark + "[0-9]" * length for length in lengths)
    return decoders.Sequence(
        [
            decoders.Replace(Regex(r"\A(?=[0-9]+\z)"), mark),
            decoders.WordPiece(prefix=none, cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(f"(?<={behind_number}) {mark}"), mark),
            decoders.Replace(mark, ""),
        ]
    )
