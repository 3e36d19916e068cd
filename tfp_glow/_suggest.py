"""The end of an error message about a misspelled name."""

import difflib
from collections.abc import Iterable

__all__ = ["suggestion"]


def suggestion(received: str, options: Iterable[str]) -> str:
    """Returns what the reader may have meant, to put at the end of an error message.

    Args:
        received: The name that was not understood.
        options: The names that would have been. Case does not count.

    Returns:
        `" Did you mean 'x'?"`, with its leading space, or `""` when nothing is close.

    Example:
        >>> suggestion("afine", ["affine", "additive"])
        " Did you mean 'affine'?"
        >>> suggestion("zebra", ["affine", "additive"])
        ''
    """
    by_lower_case = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(received).lower(), by_lower_case, n=1)
    return f" Did you mean {by_lower_case[close[0]]!r}?" if close else ""
