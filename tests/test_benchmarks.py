"""Every benchmark that starts no engine runs to its end at its small size, and leaves nothing behind."""

import pytest

from tests.small_benchmark import NAMES, TAKING_LONG, WITH_ENGINES, run_small

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITH_ENGINES + TAKING_LONG])
def test_a_benchmark_runs_to_its_end_and_leaves_nothing(name: str) -> None:
    run_small(name)
