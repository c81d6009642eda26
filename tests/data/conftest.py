import pytest


@pytest.fixture
def tmp_path(tmp_path):
    """A folder below empty ones: errors suggest data found up to two levels above, where other tests have theirs."""
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True)
    return folder
