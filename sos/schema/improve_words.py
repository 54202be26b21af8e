"""The words that values of the config group `improve` are chosen from."""

from __future__ import annotations

BILLION = 10**9
NO_SHAPE = ("dropout", "kernels")  # keys of a model that do not decide how its weights look
NONE, NLL, APA, DISTILLATION = "none", "nll", "apa", "distillation"
POLICY_LOSSES = ("clip", "cispo", "reinforce")
LEARNING = (NLL, *POLICY_LOSSES, APA, DISTILLATION)
WITH_CONTEXT = (NLL, DISTILLATION)
TEACHERS = FIXED, EMA, LIVE = ("fixed", "ema", "live")
SUPPORTS = ("all", "student", "teacher", "both", "sampled")  # of `sos.improve.losses_options`
SOME_TOKENS = ("student", "teacher", "both")
NODES, REPEATS = "nodes", "repeats"
# By their names in `sos.improve.selections`; those that keep some of a group.
KEEPING = (
    "shortest_solved",
    "first_correct",
    "random",
    "balanced",
    "roc_inverse",
    "roc_greedy",
    "reverse_roc",
    "filter_both",
    "roc_shortest",
)
BLAMED = ANSWER, MISTAKES = ("answer", "mistakes")
CORRECTED = (NONE, "mistakes", REPEATS)
POOL = 512
CLASSES = ("easy", "medium", "recoverable", "latent", "impossible")
SELECTIONS = ("all", "solved", "clean", *KEEPING)
SECOND = ("rule", "random", "refine", "pivot", "restart")  # who decides how a second attempt begins
DECIDING = (*SECOND, "random_cut", "oracle")  # the same of chains of attempts, see `sos.improve.attempts_chains`
ONLY_SOLVED = ("solved", "clean", "shortest_solved", "first_correct")
