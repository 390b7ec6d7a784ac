"""`--set anderson.depth=5` on the command line."""

import json
from typing import Any

from spinup.errors import UsageError
from spinup.methods import METHODS, check_settings, validated
from spinup.store.header import StoreSettings
from spinup.suggest import did_you_mean


def parse_sets(texts: list[str], method: str) -> dict[str, dict[str, Any]]:
    """Settings by owner: the method's and the store's. Raises UsageError naming what is misspelt."""
    groups: dict[str, dict[str, Any]] = {method: {}, "store": {}}
    owners = [*METHODS, "store"]
    for text in texts:
        name, equals, value = text.partition("=")
        owner, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise UsageError(f"--set {text}: write it like --set anderson.depth=5")
        if owner not in owners:
            raise UsageError(
                f"--set {text}: {owner!r} has no settings{did_you_mean(owner, owners)}; known: {', '.join(owners)}"
            )
        if owner not in groups:
            raise UsageError(f"--set {text}: the method is {method!r}, not {owner!r}; choose it with --method {owner}")
        groups[owner][key] = _value(value.strip())
    check_settings(method, groups[method])
    validated(StoreSettings, groups["store"], "store")
    return groups


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None if text == "None" else text
