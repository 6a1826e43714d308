"""Every benchmark that starts no engine runs to its end at its small size, and leaves nothing behind."""

import pytest

from tests.small_benchmark import NAMES, TAKING_LONG, WITH_ENGINES, run_small

ALONE = ["reference", "preprocess"]  # what takes an argument, or measures its process's memory
TOGETHER = [name for name in NAMES if name not in ALONE + WITH_ENGINES + TAKING_LONG]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("names", [*([name] for name in ALONE), TOGETHER])
def test_benchmarks_run_to_their_end_and_leave_nothing(names: list[str]) -> None:
    run_small(*names)
