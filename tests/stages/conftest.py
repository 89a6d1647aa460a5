import pytest
import small_runs


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """An encoder's folder and a task's files; tests that spoil some make their own."""
    return small_runs.write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def finished(inputs, tmp_path_factory):
    """(recipe, run folder) of a whole run without interruption; tests must not change it."""
    data, run_dir = small_runs.recipe(inputs), tmp_path_factory.mktemp("finished") / "run"
    small_runs.run_well(data, run_dir)
    return data, run_dir
