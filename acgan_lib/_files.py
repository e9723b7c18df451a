"""Where the shipped data is, in a clone and in an installed wheel alike."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """Return the folder that holds ``fashion_mini`` and ``checkpoints``.

    A wheel carries the data inside the package, in ``_data``. A clone, also one that is
    installed editable, has it in ``data`` beside the package.

    Raises:
        FileNotFoundError: neither folder exists.
    """
    for folder in (_PACKAGE / "_data", _PACKAGE.parent / "data"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        "The book's data folder is missing: install acgan_lib from a clone of the repository or "
        "with `pip install git+ADDRESS`, not by copying the package folder alone."
    )
