"""Commands as a user whom the modes of folders stop."""

from __future__ import annotations

import os
import shutil

# Root may write everywhere; without its capabilities it keeps to the modes of folders like everybody else.
AS_USER = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.getuid() == 0 else []
CAN_BE_USER = not AS_USER or shutil.which("setpriv") is not None
