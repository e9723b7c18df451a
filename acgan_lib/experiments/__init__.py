"""What produced each recorded result, found by its chapter's number.

``python -m acgan_lib.experiments --list`` names the experiments, ``python -m acgan_lib.experiments
NAME --seed S`` repeats one. A chapter reads what they recorded by `stored` and `arrays`.
"""

from acgan_lib.experiments._results import arrays, stored

__all__ = ["arrays", "stored"]
