"""Settings that are out of range."""

from typing import Any

Rule = tuple[str, Any, bool, str]  # name, value, whether it is in range, and the range in words


def require(*rules: Rule) -> None:
    """ValueError of the first setting that is out of range: its name, what it must be and what it was."""
    for name, value, good, rule in rules:
        if not good:
            raise ValueError(f"{name} must be {rule}, got {value}")
