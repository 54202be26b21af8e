"""Which context a stream has: shares as asked for, and a function of the seed, the name and the number alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sizes import plain

from sos.compose import compose
from sos.context.draws import Asked, SlotPlan, asked_at, draw_key
from sos.data.chunks import Chunk
from sos.errors import UserError
from sos.schema.slot import ATTEMPT_DOSES, CONTEXTS, CONTROLS, DOSES, SlotConfig
from sos.system import build_system

NUM = plain(20_000, 2_000)


def test_shares_are_as_asked_for() -> None:
    plan = SlotPlan(("first", "plan", "trace"), dropout=0.3, irrelevant=0.2, misleading=0.1, filler=0.4)
    key = draw_key(5, "train")
    asked = [asked_at(plan, key, index) for index in range(NUM)]
    some = [what for what in asked if what is not None]
    assert 1 - len(some) / NUM == pytest.approx(0.3, abs=0.03)
    of = Counter(what.whose for what in some)
    shares = {"own": 0.3, "foreign": 0.2, "wrong": 0.1, "filler": 0.4}
    assert {whose: of[whose] / len(some) for whose in shares} == pytest.approx(shares, abs=0.03)
    doses = Counter(what.dose for what in some)
    assert set(doses) == set(plan.doses)
    assert all(doses[dose] / len(some) == pytest.approx(1 / 3, abs=0.04) for dose in doses)
    assert {asked_at(SlotPlan(("plan",)), key, index) for index in range(100)} == {Asked("plan")}
    straight = [asked_at(SlotPlan(("first", "plan"), follow=0.25), key, index) for index in range(NUM)]
    plans = [what.followed for what in straight if what is not None and what.dose == "plan"]
    assert sum(plans) / len(plans) == pytest.approx(0.25, abs=0.03)
    assert not any(what.followed for what in straight if what is not None and what.dose == "first")
    assert {asked_at(SlotPlan(("plan",), dropout=1.0), key, index) for index in range(100)} == {None}


def test_a_context_depends_on_seed_name_and_number_alone() -> None:
    plan = SlotPlan(DOSES, 0.5, 0.2, 0.2, 0.2)

    def drawn(seed: int, name: str) -> list[Asked | None]:
        key = draw_key(seed, name)
        return [asked_at(plan, key, index) for index in range(200)]

    forth, back = drawn(1, "train"), [asked_at(plan, draw_key(1, "train"), index) for index in reversed(range(200))]
    assert forth == back[::-1]
    assert forth != drawn(2, "train")
    assert forth != drawn(1, "val")


def test_every_context_has_a_name() -> None:
    assert CONTEXTS["plan"] == ("plan", "own")
    assert CONTEXTS["wrong_plan"] == ("plan", "wrong")
    assert "wrong_trace" not in CONTEXTS
    assert CONTEXTS["wrong_lesson"] == ("lesson", "wrong")
    assert CONTEXTS["foreign_critique"] == ("critique", "foreign")
    assert "wrong_failed" not in CONTEXTS
    assert CONTEXTS["retrieved_lesson"] == ("lesson", "retrieved")
    assert CONTEXTS["failure"] == ("outcome", "failure")
    hints_and_lessons = (len(DOSES) + 1) * (1 + len(CONTROLS)) - 1
    assert len(CONTEXTS) == hints_and_lessons + len(ATTEMPT_DOSES) * len(CONTROLS) + 3  # a memory's lessons, two ends


REFUSED = {
    "slot.kinds=[skill]": "slot.kinds: 'skill' is none of hint, lesson, demonstration, transcript",
    "slot.doses=[much]": "slot.doses: 'much' is none of classes, first, actions, plan, trace",
    "slot.doses=[]": r"slot.doses must name some of classes, .*, got \[\]",
    "slot.doses=[plan,failed]": r"slot.doses=\[plan,failed\]: failed needs attempt in slot.kinds, which is \[hint\]",
    "slot.kinds=[attempt]": r"slot.doses=\[classes,.*\]: classes needs hint in slot.kinds, which is \[attempt\]",
    "slot.kinds=[attempt,lesson]": r"slot.kinds=\[attempt,lesson\]: attempts go without lesson, demonstration",
    "slot.doses=[failed] slot.kinds=[attempt]": r"slot.misleading=0.05: no search is wrong, as slot.doses=\[failed\] would",
    "eval.context=[none,failed]": r"eval.context=\[failed\]: the slot of this base has no attempt; slot.kinds=\[hint\]",
    "slot.doses=[plan,plan]": r"slot.doses must name some of .*, each once, got \[plan,plan\]",
    "slot.misleading=0.7 slot.irrelevant=0.7": "must sum to 1 at most, got 1.4",
    "slot.doses=[trace] slot.misleading=0.1": "slot.misleading=0.1: no search is wrong.*slot.misleading=0 goes with it",
    "slot.doses=[classes,first] slot.follow=1": r"slot.follow=1 has no use with slot.doses=\[classes,first\]",
    "slot=none slot.dropout=0.1": "slot.dropout=0.1 needs slot.kinds, which is",
    "slot=none eval.context=[none,plan]": r"eval.context=\[plan\]: this base has no context slot; slot=hint trains one",
    "eval.context=[most]": "eval.context: 'most' is none of none, classes, first",
    "eval.context=[plan,plan]": "eval.context must name some of none, plan, ..., each once",
    "data.prompt_loss=true": "data.prompt_loss=true has no use with slot.kinds",
    "stream.view=swapped stream.plan=true": "stream.view=swapped shows the search of another problem",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(words: str) -> None:
    with pytest.raises(UserError, match=REFUSED[words]) as error:
        compose(["experiment=smoke", "slot=hint", *words.split()])
    assert "\n" not in str(error.value)


def test_a_base_without_the_slot_has_the_hash_that_it_had() -> None:
    """The group came later: at its defaults a record of before it is the same run."""
    from sos.config import config_from_dict, config_hash, to_dict

    config = compose(["experiment=smoke"])
    assert config.slot == SlotConfig()
    before = to_dict(config)
    del before["slot"], before["eval"]["context"]
    assert config_hash(before) == config_hash(config) == config_hash(config_from_dict(before))
    assert config_hash(compose(["experiment=smoke", "slot=hint"])) != config_hash(config)


def test_a_slot_that_stays_empty_is_refused() -> None:
    """As that of attempts where no search fails."""
    from sos.train.plan import ENOUGH, check_shown

    words = ["experiment=smoke", "slot=hint", "slot.kinds=[attempt]", "slot.doses=[failed]", "slot.misleading=0"]
    config = compose([*words, "slot.dropout=0.9"])
    system = build_system(config)
    told, shown = np.full(3 * ENOUGH, 20, np.uint16), np.full(3 * ENOUGH, 20, np.uint16)
    assert system.dialect.slot is not None
    shown[7] = system.dialect.slot.begin  # the second token of the third stream
    offsets = np.arange(0, 3 * ENOUGH + 1, 3)
    num = np.ones(ENOUGH, np.int32)
    empty = Chunk(told, told.astype(np.int8), offsets, num, num, 0, num)
    with pytest.raises(
        UserError, match=r"slot.kinds=\[attempt\]: none of the first 256 .* has a failed attempt to show"
    ):
        check_shown(config, system, empty)
    check_shown(config, system, empty._replace(tokens=shown))
    check_shown(config, system, empty._replace(offsets=offsets[:-1]))  # too few to tell
    check_shown(config, system, empty._replace(continued=np.arange(ENOUGH) == 0))
    check_shown(compose([*words, "slot.dropout=0.95"]), system, empty)
    check_shown(compose(["experiment=smoke"]), system, empty)
