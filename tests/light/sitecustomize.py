"""What the processes that a test starts leave out, so that each starts in half the time.

Python imports this file by itself where its folder is on ``PYTHONPATH``; see `conftest.light`.
"""

import sys
import types


class Nothing(types.ModuleType):
    """A module all of whose functions do nothing; as decorators, they give the function back."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments, **more):
        return arguments[0] if arguments and callable(arguments[0]) else None


# An optimiser imports torch's compiler, for seconds, only to tell it to keep out.
sys.modules["torch._dynamo"] = Nothing("torch._dynamo")
# Ray imports jsonschema, and that a grammar of addresses, where Jupyter has installed one.
sys.modules["rfc3987_syntax"] = None
