"""What belongs to the published Stream of Search alone: its records, strategies, metric and alignment.

Importing the package makes the published metric (`eval.legacy`) and the split `difficult` known to evaluations.
"""

from sos.published import judging

__all__ = ["judging"]
