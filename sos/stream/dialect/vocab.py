"""The closed vocabulary: special tokens, whole numbers, and the symbols of one dialect.

Ids: 0 `<pad>`, 1 `<bos>`, 2 `<eos>`, then the numbers 0..`whole_max`, then the symbols. A number up to `whole_max` is
one token; a larger one is the run of its digits, each one token. `whole_max = 9` therefore is digit coding.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sos.errors import UserError

PAD, BOS, EOS = range(3)
SPECIALS = ("<pad>", "<bos>", "<eos>")
FIRST_NUMBER = len(SPECIALS)
MOST_WHOLE = 30_000
MAX_CHARACTERS = 1_000_000  # of a vocabulary's JSON


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one dialect; `spaced` says whether white space between tokens carries nothing."""

    symbols: tuple[str, ...]
    whole_max: int
    spaced: bool

    def __post_init__(self) -> None:
        if not 9 <= self.whole_max <= MOST_WHOLE:
            raise UserError(f"stream.whole_max must be from 9 (digits) to {MOST_WHOLE}, got {self.whole_max}")

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The text of every token, by id."""
        return (*SPECIALS, *(str(n) for n in range(self.whole_max + 1)), *self.symbols)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token text -> id."""
        return {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def is_number(self, token: int) -> bool:
        """Say whether the id `token` is a number's."""
        return FIRST_NUMBER <= token <= FIRST_NUMBER + self.whole_max

    def number_ids(self, value: int) -> list[int]:
        """Return the ids that write `value` >= 0."""
        if value <= self.whole_max:
            return [FIRST_NUMBER + value]
        return [FIRST_NUMBER + int(digit) for digit in str(value)]

    def tokenizer(self) -> Any:
        """Return a `tokenizers.Tokenizer` that gives the ids of a stream from its text, `<bos>` and `<eos>`
        included."""
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

        # Symbols longest first, so that no symbol hides a longer one that starts with it.
        symbols = "|".join(re.escape(s) for s in sorted(self.symbols, key=len, reverse=True))
        whole = "|".join(str(n) for n in range(self.whole_max, 9, -1))
        numbers = rf"(?<![0-9])(?:{whole})(?![0-9])|[0-9]" if whole else "[0-9]"
        steps = [pre_tokenizers.Split(Regex(f"{symbols}|{numbers}"), "isolated")]
        if self.spaced:
            steps.insert(0, pre_tokenizers.Split(Regex(r"\s+"), "removed"))
        tokenizer = Tokenizer(models.WordLevel(dict(self.ids), unk_token=SPECIALS[PAD]))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        if not self.spaced:
            tokenizer.decoder = decoders.Fuse()
        tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
        return tokenizer

    def to_json(self) -> str:
        """Return the vocabulary's own description, for checkpoints and fingerprints."""
        return json.dumps({"symbols": self.symbols, "whole_max": self.whole_max, "spaced": self.spaced})

    @staticmethod
    def from_json(text: str) -> Vocabulary:
        """Rebuild a vocabulary from `to_json`. Raises UserError for anything else."""
        if len(text) > MAX_CHARACTERS:
            raise UserError(f"vocabulary: {len(text)} characters are too many, of which {MAX_CHARACTERS} are read")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"vocabulary: not JSON: {error}") from error
        if not isinstance(fields, dict) or set(fields) != {"symbols", "whole_max", "spaced"}:
            raise UserError("vocabulary: must have the keys symbols, whole_max and spaced, and no others")
        symbols, whole_max, spaced = fields["symbols"], fields["whole_max"], fields["spaced"]
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) and symbol for symbol in symbols):
            raise UserError("vocabulary: symbols must be a list of texts that are not empty")
        taken = Counter([*SPECIALS, *symbols])
        if wrong := [symbol for symbol in symbols if taken[symbol] > 1 or (symbol.isascii() and symbol.isdigit())]:
            raise UserError(f"vocabulary: the symbol {wrong[0]!r} is a number, a special token or there twice")
        if type(whole_max) is not int or type(spaced) is not bool:
            raise UserError(
                f"vocabulary: whole_max must be a whole number and spaced true or false, got {fields!r:.200}"
            )
        return Vocabulary(tuple(symbols), whole_max, spaced)
