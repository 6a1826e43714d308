"""Every benchmark that starts an engine runs to its end at its small size, and leaves nothing behind."""

import pytest

from tests.small_benchmark import TAKING_LONG, WITH_ENGINES, run_small


def test_the_benchmark_of_commands_runs_to_its_end_and_leaves_nothing() -> None:
    run_small("idle")


def test_the_benchmarks_of_one_engine_run_to_their_end_and_leave_nothing() -> None:
    run_small(*(name for name in WITH_ENGINES if name != "idle"))


@pytest.mark.clients
@pytest.mark.parametrize("name", TAKING_LONG)
def test_a_benchmark_that_takes_long_runs_to_its_end_and_leaves_nothing(name: str) -> None:
    run_small(name)
