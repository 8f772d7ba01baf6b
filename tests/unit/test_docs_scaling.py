"""The settings that docs/scaling.md shows are accepted."""

from pathlib import Path

import pytest

from adapters.environment.load import load_settings
from application.setting_problems import problems_of
from tests.support.readme import blocks

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


@pytest.mark.parametrize("block", blocks("dotenv", PAGE))
def test_settings_for_scaling_out_are_accepted(
    block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVIRONMENT", "LOCAL")
    shown = dict(line.split("=", 1) for line in block.splitlines())
    for variable, value in shown.items():
        monkeypatch.setenv(variable, value)

    problems = {problem.variable for problem in problems_of(load_settings())}

    assert problems & {*shown, "PORTICO_BROKER_URL", "PORTICO_RESULT_URL"} == set()
