"""Record the museum's trainings: ``python -m acgan_lib.museum``."""

from acgan_lib.museum.runs import record

record()
