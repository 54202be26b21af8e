"""What keys of the config group `improve` may not say together; `options` is the group."""

from __future__ import annotations

from typing import Any

from sos.errors import UserError
from sos.schema.improve_words import CLASSES, KEEPING, NLL, NONE, ONLY_SOLVED, POLICY_LOSSES, POOL
from sos.schema.slot import NONE as NO_CONTEXT


def check_kept(options: Any) -> None:
    """Raise UserError for keys that contradict each other."""
    if options.keep is not None and options.keep > options.group:
        raise UserError(f"improve.keep={options.keep} is more than improve.group={options.group}")
    if options.loss == NLL and options.selection not in ONLY_SOLVED:
        raise UserError(
            f"improve.loss=nll with improve.selection={options.selection} learns mistakes as it learns solutions; "
            f"choose one of {', '.join(ONLY_SOLVED)}"
        )
    unknown = [name for name in options.classes if name not in CLASSES]
    if unknown or len(set(options.classes)) < len(options.classes):
        raise UserError(
            f"improve.classes must name any of {', '.join(CLASSES)}, each once, got {list(options.classes)}"
        )
    if options.pool != POOL and not options.profiles:
        raise UserError(f"improve.pool={options.pool} has no use without improve.classes or improve.gate")
    if options.plateau is not None and not options.has_reference:
        raise UserError(
            f"improve.plateau={options.plateau} has no use without a reference: improve.kl_weight above 0, or "
            "improve.anchor=reference"
        )
    if options.support == "sampled" and options.beta != 1:
        raise UserError(f"improve.support=sampled has the gradient of improve.beta=1 alone, got {options.beta:g}")
    least = options.minibatches if options.examples is None else options.examples
    if least < options.minibatches:
        raise UserError(f"improve.examples={least} are fewer than improve.minibatches={options.minibatches}")
    kept = options.group if options.selection not in KEEPING else options.keep or options.group // 2
    if options.loss in POLICY_LOSSES and options.baseline != "none" and kept < 2:
        raise UserError(
            f"improve.group={options.group}, of which {kept} is kept: improve.baseline={options.baseline} compares the "
            "rollouts of a problem, of which there must be two at least"
        )


def check_anew(options: Any) -> None:
    """Raise UserError for two ways to write an answer, or what stands before it, at once."""
    ways = {
        "improve.guided": options.guided,
        "improve.corrected": options.corrected != NONE,
        "improve.second": options.second != NONE,
        "improve.prefix": options.prefix > 0,
        "improve.context": options.context != NO_CONTEXT,
    }
    chosen = [name for name, is_on in ways.items() if is_on]
    apart = {"improve.guided", "improve.prefix"}  # a guided answer may begin with a part of a solution
    if len(chosen) > 1 and set(chosen) != apart:
        raise UserError(f"{' and '.join(chosen)} do not go together: each says how an answer comes about")
