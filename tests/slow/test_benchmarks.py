"""Every benchmark that starts an engine runs to its end at its small size, and leaves nothing behind."""

import pytest

from tests.small_benchmark import WITH_ENGINES, run_small


@pytest.mark.parametrize("name", WITH_ENGINES)
def test_a_benchmark_runs_to_its_end_and_leaves_nothing(name: str) -> None:
    run_small(name)
