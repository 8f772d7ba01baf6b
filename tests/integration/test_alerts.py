"""The alerts come when docs/monitoring says, asked of Prometheus' own promtool where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
def test_each_alert_comes_when_its_file_says() -> None:
    files = sorted(MONITORING.glob("alerts*.test.yml"))
    done = subprocess.run(  # noqa: S603 - of the system
        [str(PROMTOOL), "test", "rules", *files],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert files
    assert done.returncode == 0, done.stdout + done.stderr
