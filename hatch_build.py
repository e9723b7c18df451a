"""Put data/ into a built wheel, for `pip install git+...`; an editable install reads it there."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarryData(BuildHookInterface):  # type: ignore[type-arg]
    """Add data/ as ``acgan_lib/_data``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a build; ``version`` is "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"]["data"] = "acgan_lib/_data"
