"""Names of models, which are parts of addresses and names of folders."""

import re

__all__ = ["NAME_RULE", "is_model_name"]

NAME_RULE = "1 to 100 letters, digits, '.', '_' and '-', a letter or digit first"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_model_name(text: str) -> bool:
    """Whether a model can be called so.

    Example:
        >>> is_model_name("faces-64"), is_model_name("../faces")
        (True, False)
    """
    return _NAME.fullmatch(text) is not None
