import os
import subprocess

import pytest


@pytest.fixture(scope="module")
def may_mount() -> None:
    """Skips where a test cannot have a /dev/shm or a disk of its own."""
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or done.returncode != 0:
        pytest.skip("mounting needs root")
