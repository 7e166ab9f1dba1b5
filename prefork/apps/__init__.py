"""Apps as the server runs them: loading a target, and one adapter for each kind of app."""
