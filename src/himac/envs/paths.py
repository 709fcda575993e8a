"""Where a benchmark's data lies, as a configuration names it."""

from __future__ import annotations

import os
import re

from himac.errors import DataError

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def expand_variables(data: str, content: str, builtin: str) -> str:
    """The path with the values of its environment variables.

    Args:
        content: What the folder holds, for the message.
        builtin: What can be named instead of a folder.

    Raises:
        DataError: a variable is not set.
    """
    expanded = os.path.expandvars(data)
    unset = _VARIABLE.search(expanded)
    if unset:
        raise DataError(
            f"the data folder '{data}' names the variable {unset[1]}, which is not set; "
            f"set it to the folder of {content}, or set env.kwargs.data to it or to {builtin}."
        )
    return expanded
