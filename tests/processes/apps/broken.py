"""An app whose import raises."""

raise RuntimeError("broken on purpose")
