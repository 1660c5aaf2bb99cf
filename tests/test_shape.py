"""The shape of the code, where lint has no words for it."""

from graphlib import TopologicalSorter
from pathlib import Path

import grimp

MOST_LINES = 400  # a file that needs more is about two things


def test_no_file_imports_in_a_circle():
    """Imports inside functions and for type checking count."""
    graph = grimp.build_graph("dashboard", "gateway", cache_dir=None)

    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}

    TopologicalSorter(imported).prepare()  # else CycleError names the circle


def test_no_file_is_longer_than_a_person_reads_at_once():
    root = Path(__file__).parent.parent
    files = [path for folder in ("gateway", "dashboard") for path in (root / folder).rglob("*.py")]

    long = [str(path) for path in files if len(path.read_text().splitlines()) > MOST_LINES]

    assert len(files) > 300
    assert long == []
