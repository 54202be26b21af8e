"""Counter-based random streams: draw i of a stream is a pure function of (seed, stream name, i).

SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") is used as a hash: no
generator object, no order, so any worker computes any part. All values are uint64 and wrap modulo 2**64.
"""

from __future__ import annotations

import hashlib

import numpy as np

from sos.kernels import inlined, kernel

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32, _S11 = (np.uint64(s) for s in (30, 27, 31, 32, 11))
_LOW32 = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)


def stream_key(seed: int, name: str) -> np.uint64:
    """Return the uint64 key of the stream `name` under `seed` (any int). Distinct names give unrelated streams."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


@inlined
def mix64(x):
    """Finalise a uint64 (SplitMix64's bijective mixer)."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@kernel
def fold(key, counter):
    """Derive the uint64 key of element `counter`, from 0 to 2**64 - 1, of the stream `key`."""
    return mix64(np.uint64(key) + (np.uint64(counter) + _ONE) * _GAMMA)


@kernel
def below(key, counter, bound):
    """Draw number `counter` of stream `key`: an int64 uniform on [0, bound), 1 <= bound <= 2**32, exactly unbiased.

    Lemire's multiply-and-reject (2019) on 32-bit halves; a rejected draw moves to a derived key, never to the
    next counter.
    """
    bound64 = np.uint64(bound)
    x = fold(key, counter)
    while True:
        product = (x >> _S32) * bound64
        low = product & _LOW32
        # The remainder is below the bound, and dividing takes longer than all the rest.
        if low >= bound64 or low >= (np.uint64(1) << _S32) % bound64:
            return np.int64(product >> _S32)
        x = mix64(x + _GAMMA)


@kernel
def uniform(key, counter):
    """Draw number `counter` of stream `key`: a float64 uniform on [0, 1) with 53 random bits."""
    return np.float64(fold(key, counter) >> _S11) * (1.0 / 9007199254740992.0)


@kernel
def permute(key, index, size):
    """Return the image (int64) of `index` under a pseudorandom permutation of [0, size), 0 <= index < size.

    A 6-round Feistel network on the smallest even number of bits that holds `size`, walked until it lands inside
    (cycle walking; Black & Rogaway 2002): expected under 4 walks, no memory.
    """
    half_bits = np.uint64(1)
    while (np.uint64(1) << (half_bits + half_bits)) < np.uint64(size):
        half_bits += _ONE
    half_mask = (np.uint64(1) << half_bits) - _ONE
    x = np.uint64(index)
    while True:
        left = x >> half_bits
        right = x & half_mask
        for round_ in range(6):
            left, right = right, left ^ (fold(fold(key, round_), right) & half_mask)
        x = (left << half_bits) | right
        if x < np.uint64(size):
            return np.int64(x)
