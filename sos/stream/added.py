"""Views that packages add: the kernel `show` of a NamedTuple, registered by name.

`stream.view=NAME` takes one that is registered or that an installed package has an entry point for, of the group
`sos.views`: its name, and the module that registers it. `stream.view=package.module:NAME` imports a module.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sos.envs.protocol import capability, implementation_of, implemented, implements
from sos.schema.registry import Unfit
from sos.schema.stream import ADDED_VIEWS, BUILT_IN_VIEWS

NOT_ADDED = -1


class AddedView(NamedTuple):
    """A view of a package, with the fields that kernels ask of a `sos.stream.views.View`."""

    shown: Any  # its NamedTuple
    kind: int = -1  # none of `VIEWS`
    dose: float = 1.0
    plan: bool = False


def show(view, key, env, problem, source, out, work):
    """Write the view of the TraceBuffer `source`, a search's own trace, into `out`; return OK, BUFFER_FULL or
    NEEDS_SOLUTION.

    `key` (uint64) seeds draws, `work` is a ViewWork. What is written must read back to the trace that it is.
    `sos.stream.views.view_kernel` writes the views that are there.
    """
    return implementation_of("show", type(view))(view, key, env, problem, source, out, work)


def _is_none(view, key, env, problem, source, out, work):
    return NOT_ADDED


@capability(_is_none)
def show_added(view, key, env, problem, source, out, work):
    """Like `show` for an AddedView; NOT_ADDED for any other."""
    return implementation_of("show_added", type(view))(view, key, env, problem, source, out, work)


@implements(show_added, AddedView)
def _show_added(view, key, env, problem, source, out, work):
    return show(view.shown, key, env, problem, source, out, work)


def register_view(name: str, kind: type) -> None:
    """Make a view known by `name`; `kind` is its NamedTuple, all fields of which have defaults.

    Raises Unfit for a name that is taken and for a kind without the kernel `show`.
    """
    if name in BUILT_IN_VIEWS:
        raise Unfit(f"view {name} is registered already")
    if "show" not in implemented(kind):
        raise Unfit(f"{kind.__name__} lacks the kernel show: @implements(sos.stream.added.show, {kind.__name__})")
    if not kind._fields or len(kind._field_defaults) < len(kind._fields):  # type: ignore[attr-defined]
        raise Unfit(f"{kind.__name__} must have a field or more, each with a default")
    ADDED_VIEWS.add(name, kind)


def added_view(name: str) -> AddedView:
    """Return the view that `stream.view=name` means, one of a package. Raises UserError that lists what there is."""
    return AddedView(ADDED_VIEWS.named(name, besides=BUILT_IN_VIEWS)())
