"""Cannot be imported: what it needs is missing."""

import a_module_that_is_missing  # type: ignore[import-not-found]


def imports_what_is_missing() -> None:
    a_module_that_is_missing.run()
