"""What all tests share: hypothesis without a stop-watch, which a busy machine would trip."""

from hypothesis import settings

settings.register_profile("prefork", deadline=None)
settings.load_profile("prefork")
