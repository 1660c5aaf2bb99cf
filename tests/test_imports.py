"""What lint cannot say in its own words about who imports whom."""

from graphlib import TopologicalSorter

import grimp


def test_no_file_imports_in_a_circle():
    """Imports inside functions and for type checking count."""
    graph = grimp.build_graph("dashboard", "gateway", cache_dir=None)

    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}

    TopologicalSorter(imported).prepare()  # else CycleError names the circle
