"""How long a test may wait for a fact before it gives up. One knob scales all of it."""

import os
from typing import Final

PATIENCE: Final = float(os.environ.get("PREFORK_TEST_PATIENCE", "1"))  # 4 on a slow or busy machine
GUARD_SECONDS: Final = 20 * PATIENCE  # far more than anything here takes: it only guards against hanging
