"""Decides whether four numbers reach a target, all at once: the two shapes of an expression as lanes of a vector loop.

The last operation joins either two pairs, (p q)(z x), or a triple and a number, ((p q) z) x. For the second the
target and x give at most four values that the triple must reach, so that every pair's value is compared with what z
must meet. Both loops run over lanes that the compiler turns into vector code, without branches: an illegal value is
NaN, which equals nothing.

Values are float64 and exact: legal ones are at most 2**31, and a product that is rounded (above 2**53) equals none of
them. A quotient of such values that is not whole is at least 2**-31 away from the next whole number, so that `floor`
is exact.
"""

from __future__ import annotations

import numpy as np

from sos.kernels import inner, inner_with

NAN = np.nan
# Lane -> indices of (x, z, p, q). The first three are the three ways to split four numbers into pairs.
LANES = np.array(
    [[x, z, *sorted({0, 1, 2, 3} - {x, z})] for x in range(4) for z in range(4) if z != x], np.int64
).T.copy()
NUM_LANES = LANES.shape[1]
_plain = inner_with(error_model="numpy")  # division by zero is inf or NaN, not a branch


def new_lanes() -> np.ndarray:
    """Allocate the work space of `four_reach`, float64 (5, 12): x, z, p and q of each lane, then the four numbers."""
    return np.zeros((5, NUM_LANES))


@_plain
def _capped(value, cap):
    return value if value <= cap else NAN


@_plain
def _nonzero(value):
    return value if value != 0.0 else NAN


@_plain
def _quotient(a, b, cap):
    large = a if a > b else b
    small = b if a > b else a
    ratio = large / small
    return ratio if (np.floor(ratio) == ratio) & (ratio <= cap) else NAN


@_plain
def _join(v, w, target, cap):
    """Say (1 or 0) whether one operation on v and w gives `target`, at least 1.

    A sum above the cap may come in: where adding to it or subtracting from it gives the target, so does another order
    of the same additions and subtractions that stays below the cap.
    """
    hit = int(v + w == target) | int(abs(v - w) == target) | int(v * w == target)
    legal_v, legal_w = _nonzero(_capped(v, cap)), _nonzero(_capped(w, cap))
    return hit | int(legal_v == w * target) | int(legal_w == v * target)


@_plain
def _meet(v, z, by_sum, by_difference, by_quotient):
    """Say whether an operation on v and z gives a value that an addition, subtraction or division with x takes to the
    target.

    Left out is what the two pairs cover: sum and difference before sum and difference, quotient before quotient.
    """
    product = v * z
    positive = _nonzero(z)
    hit = int(product == by_sum) | int(product == by_difference) | int(product == by_quotient)
    hit |= int(v + z == by_quotient) | int(abs(v - z) == by_quotient)
    hit |= int(v == by_sum * positive) | int(v == by_difference * positive)
    return hit | int(z == by_sum * _nonzero(v)) | int(z == by_difference * _nonzero(v))


@_plain
def _meet_factor(v, z, factor):
    """Say whether a sum, difference or quotient of v and z gives `factor`; the two pairs cover the product."""
    hit = int(v + z == factor) | int(abs(v - z) == factor)
    return hit | int(v == factor * _nonzero(z)) | int(z == factor * _nonzero(v))


@_plain
def _two_pairs(target, cap, lanes):
    """Return whether two pairs reach the target, quotients of pairs left out; 2 and 4: a pair or the target has
    quotients."""
    hit = 0
    divides = 0
    factors = 0
    for c in range(4):
        x, z, p, q = lanes[0, c], lanes[1, c], lanes[2, c], lanes[3, c]
        a0, a1, a2 = p + q, _capped(p * q, cap), abs(p - q)
        b0, b1, b2 = z + x, _capped(z * x, cap), abs(z - x)
        hit |= _join(a0, b0, target, cap) | _join(a0, b1, target, cap) | _join(a0, b2, target, cap)
        hit |= _join(a1, b0, target, cap) | _join(a1, b1, target, cap) | _join(a1, b2, target, cap)
        hit |= _join(a2, b0, target, cap) | _join(a2, b1, target, cap) | _join(a2, b2, target, cap)
        a3, b3, factor = _quotient(p, q, cap), _quotient(z, x, cap), _quotient(target, lanes[4, c], cap)
        divides |= int(a3 == a3) | int(b3 == b3)
        factors |= int(factor == factor)
    return hit | divides << 1 | factors << 2


@_plain
def _two_pairs_with_quotients(target, cap, lanes):
    hit = 0
    for c in range(4):
        x, z, p, q = lanes[0, c], lanes[1, c], lanes[2, c], lanes[3, c]
        a0, a1, a2, a3 = p + q, _capped(p * q, cap), abs(p - q), _quotient(p, q, cap)
        b0, b1, b2, b3 = z + x, _capped(z * x, cap), abs(z - x), _quotient(z, x, cap)
        hit |= (
            _join(a3, b0, target, cap)
            | _join(a3, b1, target, cap)
            | _join(a3, b2, target, cap)
            | _join(a3, b3, target, cap)
        )
        hit |= _join(a0, b3, target, cap) | _join(a1, b3, target, cap) | _join(a2, b3, target, cap)
    return hit


@_plain
def _triple(target, cap, lanes):
    """Return whether a triple reaches what x asks for, quotients of the pair and factors of the target left out."""
    hit = 0
    for c in range(NUM_LANES):
        x, z, p, q = lanes[0, c], lanes[1, c], lanes[2, c], lanes[3, c]
        by_sum, by_difference = abs(target - x), _capped(target + x, cap)
        by_quotient = _nonzero(_capped(target * x, cap))
        hit |= _meet(_capped(p + q, cap), z, by_sum, by_difference, by_quotient)
        hit |= _meet(_capped(p * q, cap), z, by_sum, by_difference, by_quotient)
        hit |= _meet(abs(p - q), z, by_sum, by_difference, by_quotient)
    return hit


@_plain
def _triple_with_factor(target, cap, lanes):
    hit = 0
    for c in range(NUM_LANES):
        x, z, p, q = lanes[0, c], lanes[1, c], lanes[2, c], lanes[3, c]
        factor = _quotient(target, x, cap)
        hit |= _meet_factor(_capped(p + q, cap), z, factor) | _meet_factor(_capped(p * q, cap), z, factor)
        hit |= _meet_factor(abs(p - q), z, factor)
    return hit


@_plain
def _triple_with_quotient(target, cap, lanes):
    hit = 0
    for c in range(NUM_LANES):
        x, z, p, q = lanes[0, c], lanes[1, c], lanes[2, c], lanes[3, c]
        by_sum, by_difference = abs(target - x), _capped(target + x, cap)
        by_quotient = _nonzero(_capped(target * x, cap))
        v = _quotient(p, q, cap)
        hit |= _meet(v, z, by_sum, by_difference, by_quotient) | _meet_factor(v, z, _quotient(target, x, cap))
    return hit


@inner
def four_reach(numbers, target, max_value, lanes):
    """Decide exactly whether the first four of `numbers` (integers) combine to `target`; O(1), about 600 comparisons.

    1 <= `target` <= `max_value`, and every number is at most `max_value`, itself at most 2**31.
    """
    goal = np.float64(target)
    cap = np.float64(max_value)
    for c in range(NUM_LANES):
        for r in range(4):
            lanes[r, c] = numbers[LANES[r, c]]
    for k in range(4):
        lanes[4, k] = numbers[k]
    found = _two_pairs(goal, cap, lanes)
    if found & 1 or _triple(goal, cap, lanes):
        return True
    if found & 2 and (_two_pairs_with_quotients(goal, cap, lanes) or _triple_with_quotient(goal, cap, lanes)):
        return True
    return found & 4 != 0 and _triple_with_factor(goal, cap, lanes) != 0
