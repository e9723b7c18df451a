"""Record the museum's trainings: ``python -m acgan_lib.museum``."""

from acgan_lib.museum.runs import record

if __name__ == "__main__":  # a test imports every module, and nothing may happen at import
    record()
