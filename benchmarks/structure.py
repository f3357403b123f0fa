"""How the packages hang together: modules, imports between them, circles, the longest chain of imports.

python benchmarks/structure.py [PACKAGE ...]
"""

import sys

import grimp
import networkx

PACKAGES = ("tutee_grader", "tutee_serializer", "tutee_trainer", "tutee_evaluator", "flows", "serving")


def main(packages: list[str]) -> None:
    print(f"{'package':<18}{'modules':>8}{'imports':>8}{'circles':>8}  longest chain")
    for package in packages:
        modules = grimp.build_graph(package, cache_dir=None, exclude_type_checking_imports=True)
        graph = networkx.DiGraph()
        # The package's own __init__ only gathers names for users, so it is no step of a chain.
        for module in modules.modules - {package}:
            graph.add_node(module)
            for imported in modules.find_modules_directly_imported_by(module) - {package}:
                graph.add_edge(module, imported)
        groups = networkx.condensation(graph)  # each circle becomes one node
        circles = sum(len(members) > 1 for _, members in groups.nodes(data="members"))
        for module, _, data in groups.edges(data=True):
            data["weight"] = len(groups.nodes[module]["members"])
        chain = [
            name.removeprefix(f"{package}.")
            for group in networkx.dag_longest_path(groups)
            for name in sorted(groups.nodes[group]["members"])
        ]
        numbers = f"{len(graph):>8}{graph.number_of_edges():>8}{circles:>8}"
        print(f"{package:<18}{numbers}  {len(chain)}: {' -> '.join(chain)}")


if __name__ == "__main__":
    main(sys.argv[1:] or list(PACKAGES))
