"""The house's docstrings on a page: lines such as `depth: differences held` become the items of a list."""

import re
from typing import Any

import griffe


class Lists(griffe.Extension):
    """Where a line begins with the name of a parameter or an attribute and a colon, it is an item."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return
        names = list(obj.members)
        if isinstance(obj, griffe.Function):
            names = [parameter.name for parameter in obj.parameters]
        if names:
            item = re.compile(rf"^({'|'.join(map(re.escape, names))}): ", re.MULTILINE)
            obj.docstring.value = item.sub(r"\n- `\1`: ", obj.docstring.value)
