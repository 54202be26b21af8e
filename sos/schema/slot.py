"""The schema of the config group `slot`: what training streams have before their problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sos.errors import UserError
from sos.schema.keys import as_typed, check_keys, default_of, key, refuse_unused, without_later

HINT, LESSON, DEMONSTRATION, TRANSCRIPT, ATTEMPT, OUTCOME = KINDS = (  # of items
    "hint",
    "lesson",
    "demonstration",
    "transcript",
    "attempt",
    "outcome",
)
FROM_OTHERS = (LESSON, DEMONSTRATION, TRANSCRIPT)  # what experiences with other problems can leave
DOSES = ("classes", "first", "actions", "plan", "trace")
WHOLE_PLANS = ("actions", "plan", "trace")  # behind which nothing is left to search for
# What a failed attempt at this problem says: its steps; and with these the step that should have stood in their place.
FAILED, CRITIQUE = ATTEMPT_DOSES = ("failed", "critique")
FOLLOWED = (*WHOLE_PLANS, CRITIQUE)  # those that a stream can go along
NONE, OWN = "none", "own"
# What may stand in a hint's place: the path to a mistake of this problem's search, the plan of another problem, and
# tokens that say nothing; all of the same length, as far as there are such.
WRONG, FOREIGN, FILLER = CONTROLS = ("wrong", "foreign", "filler")
# What evaluations may put before a problem, by name: the hint of a dose, or a control of this dose.
CONTEXTS = {
    (dose if whose == OWN else f"{whose}_{dose}"): (dose, whose)
    for whose in (OWN, *CONTROLS)
    for dose in (*DOSES, *ATTEMPT_DOSES)
    if whose != WRONG or dose not in ("trace", *ATTEMPT_DOSES)  # a search that goes wrong is no search for another plan
}
# The same of lessons: one that is true of the problem, and what may stand in its place.
CONTEXTS |= {LESSON: (LESSON, OWN), **{f"{whose}_{LESSON}": (LESSON, whose) for whose in CONTROLS}}
# The lessons that a memory of other problems holds for this one, and how a stream says that it ends.
RETRIEVED, SUCCESS, FAILURE = "retrieved", "success", "failure"
CONTEXTS |= {f"{RETRIEVED}_{LESSON}": (LESSON, RETRIEVED)} | {end: (OUTCOME, end) for end in (SUCCESS, FAILURE)}
# What a problem must have for a context of a kind.
NEEDED = {HINT: "a plan to hint at", LESSON: "a lesson to tell", ATTEMPT: "a failed attempt to show", OUTCOME: "an end"}
OTHERS = "others"
LESSONS_FROM = (OWN, OTHERS)
NEEDS = {"kinds": None}
TOLD = ("dfs", "widening")  # the searches that take the children of a node in order


def kind_of_context(name: str) -> str:
    """Return the kind of the items of a context of `CONTEXTS`."""
    return kind_of_dose(CONTEXTS[name][0])


def kind_of_dose(dose: str) -> str:
    """Return the kind of the items that say a dose, or of a lesson."""
    if dose in (LESSON, OUTCOME):
        return dose
    return ATTEMPT if dose in ATTEMPT_DOSES else HINT


def check_contexts(names: Sequence[str], key: str = "eval.context") -> None:
    """Raise UserError where the value of `key` is not some contexts, each once."""
    known = (NONE, *CONTEXTS)
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{key}: {unknown[0]!r} is none of {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"{key} must name some of none, plan, ..., each once, got {as_typed(list(names))}")


@dataclass
class SlotConfig:
    """The context slot, between the beginning of a stream and its problem: hints of what a search would find, what
    experiences with other problems left, or whether the stream is a success."""

    kinds: list[str] = key(
        [], f"What a context may hold, any of {', '.join(KINDS)}; [] is a base without the slot and its tokens."
    )
    doses: list[str] = key(
        ["plan"],
        f"How much a hint says, drawn for each stream: any of {', '.join(DOSES)}; and what is said of a failed "
        f"attempt, any of {', '.join(ATTEMPT_DOSES)}.",
        only=NEEDS,
    )
    lessons: int = key(
        4, "The most lessons of a context; how many, is drawn for each stream.", low=1, high=16, only=NEEDS, later=True
    )
    lessons_from: str = key(
        OWN,
        "Whose searches lessons are mined from: the problem's own, or those of other problems that are nearest.",
        choices=LESSONS_FROM,
        only=NEEDS,
        later=True,
    )
    dropout: float = key(0.5, "The share of streams without a context.", low=0, high=1, only=NEEDS)
    irrelevant: float = key(
        0.0, "The share of hints, or of lessons, that are another problem's.", low=0, high=1, only=NEEDS
    )
    misleading: float = key(0.0, "The share of hints, or of lessons, that are wrong.", low=0, high=1, only=NEEDS)
    filler: float = key(
        0.0, "The share of hints, or of lessons, in whose place stands what says nothing.", low=0, high=1, only=NEEDS
    )
    follow: float = key(
        0.0,
        "The share of hints of a whole plan (actions, plan, trace) and of critiques, its own, whose stream goes "
        "straight along the plan; of contexts of the other kinds, the share whose search tries first what they say.",
        low=0,
        high=1,
        only=NEEDS,
    )

    @property
    def on(self) -> bool:
        """Whether streams may have a context."""
        return bool(self.kinds)

    def __post_init__(self) -> None:
        check_keys(self, "slot")
        for name, values, known, least in (
            ("kinds", self.kinds, KINDS, 0),
            ("doses", self.doses, (*DOSES, *ATTEMPT_DOSES), 1),
        ):
            if unknown := [value for value in values if value not in known]:
                raise UserError(f"slot.{name}: {unknown[0]!r} is none of {', '.join(known)}")
            if len(set(values)) < len(values) or len(values) < least:
                raise UserError(f"slot.{name} must name some of {', '.join(known)}, each once, got {as_typed(values)}")
        refuse_unused(self, "slot")
        self._check_kinds()
        shares = self.irrelevant + self.misleading + self.filler
        if shares > 1 + 1e-9:
            raise UserError(f"slot.irrelevant, slot.misleading and slot.filler must sum to 1 at most, got {shares:g}")
        if self.misleading and not set(self.doses) - {"trace", *ATTEMPT_DOSES}:
            raise UserError(
                f"slot.misleading={self.misleading:g}: no search is wrong, as slot.doses={as_typed(self.doses)} would "
                "need; slot.misleading=0 goes with it"
            )

    def no_use(self, name: str) -> str | None:
        """Return why a typed key has no use beside the others, None where it has one; a preset may hold it."""
        followed = set(self.kinds) & set(FROM_OTHERS) or set(self.doses) & set(FOLLOWED)
        if name == "follow" and self.on and not followed:
            return f"has no use with slot.doses={as_typed(self.doses)}: none is a whole plan"
        return None

    def _check_kinds(self) -> None:
        """Raise UserError for kinds that do not go together, and for keys that they do not use."""
        if OUTCOME in self.kinds:
            self._check_outcome()
        own = [kind for kind in self.kinds if kind not in FROM_OTHERS]
        if own and len(own) < len(self.kinds):
            raise UserError(f"slot.kinds={as_typed(self.kinds)}: {own[0]}s go without {', '.join(FROM_OTHERS)}")
        for dose in self.doses if set(own) & {HINT, ATTEMPT} else ():
            if kind_of_dose(dose) not in own:
                raise UserError(
                    f"slot.doses={as_typed(self.doses)}: {dose} needs {kind_of_dose(dose)} in slot.kinds, which is "
                    f"{as_typed(self.kinds)}"
                )
        if self.lessons_from == OTHERS and self.kinds != [LESSON]:
            raise UserError(f"slot.lessons_from={OTHERS} needs slot.kinds=[{LESSON}], got {as_typed(self.kinds)}")
        if self.lessons_from == OTHERS:
            self._check_unused(("irrelevant", "misleading", "filler"), f"slot.lessons_from={OTHERS}")
        defaults = SlotConfig.__dataclass_fields__
        if self.kinds and not set(own) & {HINT, ATTEMPT} and self.doses != default_of(defaults["doses"]):
            raise UserError(f"slot.doses={as_typed(self.doses)} has no use without slot.kinds=[{HINT}]")
        if self.kinds and LESSON not in self.kinds and self.lessons != default_of(defaults["lessons"]):
            raise UserError(f"slot.lessons={self.lessons} has no use without {LESSON} in slot.kinds")

    def _check_outcome(self) -> None:
        """Raise UserError where the outcome of a stream does not stand alone, and for keys that it does not use."""
        if len(self.kinds) > 1:
            raise UserError(f"slot.kinds={as_typed(self.kinds)}: the {OUTCOME} goes alone")
        self._check_unused(("irrelevant", "misleading", "filler", "follow"), f"slot.kinds=[{OUTCOME}]")

    def _check_unused(self, names: Sequence[str], where: str) -> None:
        """Raise UserError for a share that is not 0."""
        for name in names:
            if getattr(self, name):
                raise UserError(f"slot.{name}={getattr(self, name):g} has no use with {where}")

    def check_run(self, config: Any) -> None:
        """Raise UserError for a `Config` that asks for contexts where there is no place for them."""
        for key_of, names in (("eval.context", config.eval.context), ("improve.context", [config.improve.context])):
            self._check_asked(key_of, [name for name in names if name != NONE])
        if not self.on:
            return
        if set(self.kinds) & set(FROM_OTHERS):
            self._check_searches(config)
        if config.data.prompt_loss:
            raise UserError("data.prompt_loss=true has no use with slot.kinds: no context is in the loss")
        if config.stream.view == "swapped":
            raise UserError("stream.view=swapped shows the search of another problem, and goes without slot.kinds")

    def _check_asked(self, key_of: str, names: list[str]) -> None:
        """Raise UserError for contexts that the slot of this base has no tokens for."""
        missing = [name for name in names if kind_of_context(name) not in self.kinds]
        if not missing:
            return
        kind = kind_of_context(missing[0])
        value = as_typed(missing) if key_of == "eval.context" else missing[0]
        if not self.on:
            raise UserError(f"{key_of}={value}: this base has no context slot; slot={kind} trains one")
        raise UserError(f"{key_of}={value}: the slot of this base has no {kind}; slot.kinds={as_typed(self.kinds)}")

    def _check_searches(self, config: Any) -> None:
        """Raise UserError for a search that cannot be told what to try first."""
        if config.search.name not in TOLD:
            raise UserError(
                f"slot.kinds={as_typed(self.kinds)} tells a search which branch to try first, and needs search.name="
                f"{' or '.join(TOLD)}, got {config.search.name}"
            )
        if getattr(config.search, "threshold", "none") != "none":
            raise UserError(
                f"slot.kinds={as_typed(self.kinds)} goes without search.threshold={config.search.threshold}, which "
                "drops branches by their place"
            )


def is_default(values: Any) -> bool:
    """Say whether the plain values of this group, as a record of any day holds them, are the defaults."""
    defaults = without_later(SlotConfig, dataclasses.asdict(SlotConfig()))
    return isinstance(values, dict) and without_later(SlotConfig, values) == defaults
