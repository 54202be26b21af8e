"""The schema of the config group `stream`: what of a search is written, and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sos.errors import UserError
from sos.schema.keys import as_typed, check_keys, default_of, key, unused
from sos.schema.registry import Registry

VIEWS = ("full", "solution_path", "dose", "no_backtrack", "redundant", "plan_only", "swapped")
DROPPING = ("no_close", "no_cost", "drop", "dropping")  # see `sos.stream.dropping`
BUILT_IN_VIEWS = (*VIEWS, *DROPPING, "apart")  # see `sos.stream.apart`
NEED_PLAN = ("plan_only", "swapped", *DROPPING)
# Those that packages add: name -> NamedTuple; `sos.stream.added` registers.
ADDED_VIEWS: Registry[type] = Registry("view", "stream.view")


MARKERS = ("wait", "maybe", "check", "dead")  # in the order in which they stand at one place
OF_VALUES = ("wait", "maybe")  # those that compare values of a heuristic
OBSERVED, SHUFFLED, LATE = PLACES = ("observed", "shuffled", "late")
NEEDS_MARKERS = {"markers": None}
# Views in which a search does not return to the node that it goes on from.
WITHOUT_RETURNS = ("solution_path", "no_backtrack", *NEED_PLAN)
# Markers that cannot occur: no node is left for another, and without a search none is generated and no goal claimed.
NEVER = {"solution_path": ("dead",), "redundant": ("dead",), "plan_only": ("wait", "check", "dead")}


@dataclass
class StreamConfig:
    """How a trace becomes tokens."""

    view: str = key("full", "What of a search is written.")
    dose: float = key(
        0.5,
        "The probability that a dead branch stays, for view=dose; that a stream is a failure, for view=apart.",
        low=0,
        high=1,
        only={"view": ("dose", "apart")},
    )
    drop: float = key(
        0.3,
        "The share of what is generated that is left out, for view=drop.",
        low=0,
        high=1,
        only={"view": ("drop",)},
        later=True,
    )
    dropping: list[float] = key(
        [0.45, 1 / 6, 1 / 6, 1 / 6, 0.05],
        "For view=dropping, the chances of a whole search, no visits, nor costs, drop, and no search.",
        low=0,
        high=1,
        only={"view": ("dropping",)},
        later=True,
    )
    plan: bool = key(False, "The plan, the actions from the problem to its goal, follows the search.")
    dialect: str = key("compact", "The wording: the name of a dialect or the path of a YAML file.", path=True)
    numbers: str = key("whole", "One token for a number, or one for each digit.", choices=("whole", "digits"))
    whole_max: int = key(120, "Larger numbers are written in digits.", low=9, high=30_000, only={"numbers": ("whole",)})
    erase: bool = key(
        False,
        "What a branch wrote is erased when the search returns from it: training goes piece by piece, rollouts too.",
        later=True,
    )
    markers: list[str] = key(
        [], f"Words that say what is seen of the search's state, any of {', '.join(MARKERS)}; [] is none.", later=True
    )
    marker_places: str = key(
        OBSERVED,
        "Where they stand in training streams: where it is seen, at random places of the stream, or one place later.",
        choices=PLACES,
        only=NEEDS_MARKERS,
        later=True,
    )
    marker_heuristic: str | None = key(
        None,
        "Whose values wait and maybe compare; null takes the search's if it has one that values states, else the first "
        "of the environment.",
        only=NEEDS_MARKERS,
        later=True,
    )
    marker_tie: float = key(
        1.0,
        "By so much at most, in units of the heuristic, the second-best child is behind the best where maybe stands.",
        low=0,
        high=1e6,
        only=NEEDS_MARKERS,
        later=True,
    )

    def __post_init__(self) -> None:
        check_keys(self, "stream")
        if self.view not in BUILT_IN_VIEWS:
            ADDED_VIEWS.named(self.view, besides=BUILT_IN_VIEWS)
        if len(self.dropping) != 5 or abs(sum(self.dropping) - 1) > 1e-3:
            raise UserError(f"stream.dropping must be five chances that sum to 1, got {as_typed(self.dropping)}")
        if self.view in NEED_PLAN and not self.plan:
            raise UserError(f"stream.view={self.view} needs stream.plan=true: without its plan a stream has no answer")
        if self.erase and self.view in WITHOUT_RETURNS:
            raise UserError(f"stream.erase=true erases at returns, and stream.view={self.view} has none")
        self._check_markers()

    def no_use(self, name: str) -> str | None:
        """Return why a typed key has no use beside the others, None where it has one; a record may hold it."""
        never = [marker for marker in self.markers if marker in NEVER.get(self.view, ())]
        return f"names {never[0]}, which stream.view={self.view} never has" if name == "markers" and never else None

    def check_whole(self, where: str, does: str) -> None:
        """Raise UserError for `erase` where whole streams are needed; `where` names the run or the key, `does` what is
        done with them."""
        if self.erase:
            raise UserError(f"{where}: this model reads what is left of its streams (stream.erase=true); {does}")

    def check_run(self, config: Any) -> None:
        """Raise UserError where `erase` does not go with the rest of a `Config`."""
        if not self.erase:
            return
        data, why = config.data, ""
        if data.shards is not None:
            why = f"data.shards={data.shards} holds whole streams of data.context at most"
        elif data.length_warmup:
            why = f"data.length_warmup={data.length_warmup:g} would leave out pieces of a stream"
        elif data.prompt_loss:
            why = "data.prompt_loss=true would count again what an earlier piece says"
        elif config.improve.on:
            why = f"improve.loss={config.improve.loss} learns from whole streams"
        if why:
            raise UserError(f"stream.erase=true: {why}")

    def _check_markers(self) -> None:
        if unknown := [name for name in self.markers if name not in MARKERS]:
            raise UserError(f"stream.markers: {unknown[0]!r} is none of {', '.join(MARKERS)}")
        if len(set(self.markers)) < len(self.markers):
            raise UserError(f"stream.markers must name each marker once, got {as_typed(self.markers)}")
        for name in ("marker_places", "marker_heuristic", "marker_tie"):
            if why := unused(self, "stream", name):
                value = getattr(self, name)
                if value != default_of(type(self).__dataclass_fields__[name]):
                    raise UserError(f"stream.{name}={as_typed(value)} {why}")
        if not self.markers:
            return
        if not set(self.markers) & set(OF_VALUES) and self.marker_heuristic is not None:
            raise UserError(
                f"stream.marker_heuristic={self.marker_heuristic} has no use without {' or '.join(OF_VALUES)}"
            )
        if "maybe" not in self.markers and self.marker_tie != 1.0:
            raise UserError(f"stream.marker_tie={self.marker_tie:g} has no use without maybe")
        if self.view == "swapped" or self.view in DROPPING:
            raise UserError(
                f"stream.view={self.view} goes without stream.markers: it does not tell its problem's search"
            )
