"""Draw docs/packages.png: the packages of the code in layers, each above everything that it imports.

    python docs/packages.py

White boxes are single modules. Arrows that follow from other arrows are left out.
"""

from collections import Counter
from pathlib import Path

import grimp
import networkx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLOURS = {"service": "#cfe2f3", "model_training": "#fce0c4", "glioserve_client": "#d9ead3"}  # by root package
DETAILED = "service"  # drawn by sub-package; the other roots are one box each
BOX, LAYER_HEIGHT = np.array([2.7, 0.75]), 1.3  # width and height
LINE = {"color": "0.4", "shrinkA": 0, "shrinkB": 0}
SWEEPS = 200  # over all layers; each moves boxes towards those that they are connected to


def main() -> None:
    """Read the imports and draw them."""
    imports, modules = read_imports()
    arrows, heights = add_waypoints(networkx.transitive_reduction(imports))  # raises an error if there is a cycle
    layers = [[node for node in arrows if heights[node] == height] for height in sorted(set(heights.values()))]
    columns = arrange(arrows.to_undirected(), layers)
    centres = {node: (columns[node], LAYER_HEIGHT * heights[node]) for node in arrows}
    axes = Figure(figsize=(10, 11)).subplots()
    for source, target in arrows.edges:
        style = "-|>" if target in modules else "-"
        bottom, top = centres[source] - BOX * [0, 0.5], centres[target] + BOX * [0, 0.5]
        axes.annotate("", top, bottom, arrowprops=LINE | {"arrowstyle": style})
    for node, centre in centres.items():
        draw_box(axes, node, modules[node], centre)
    axes.autoscale_view()
    axes.axis("off")
    axes.figure.savefig(Path(__file__).with_name("packages.png"), dpi=100, bbox_inches="tight")


def read_imports() -> tuple[networkx.DiGraph, Counter[str]]:
    """Return the imports between packages as a graph, and the number of modules of each package."""
    graph = grimp.build_graph(*COLOURS, cache_dir=None)
    files = [module for module in graph.modules if not graph.find_children(module)]

    def package_of(module: str) -> str:
        root, *below = module.split(".")
        return ".".join([root, *below[:1]]) if root == DETAILED else root

    imports = networkx.DiGraph()
    for module in sorted(graph.modules):
        used = {package_of(other) for other in graph.find_modules_directly_imported_by(module)}
        imports.add_edges_from((package_of(module), package) for package in sorted(used - {package_of(module)}))
    return imports, Counter(map(package_of, files))


def add_waypoints(imports: networkx.DiGraph) -> tuple[networkx.DiGraph, dict]:
    """Return the graph with a node in every layer that an arrow crosses, so that no arrow runs through a box.

    Also return the layer of each node: that below its lowest importer, to keep arrows short.
    """
    heights = {node: n for n, row in enumerate(networkx.topological_generations(imports.reverse())) for node in row}
    for node in networkx.topological_sort(imports):
        if importers := list(imports.predecessors(node)):
            heights[node] = min(heights[importer] for importer in importers) - 1
    arrows = networkx.DiGraph()
    for source, target in imports.edges:
        crossed = [(source, target, height) for height in range(heights[source] - 1, heights[target], -1)]
        networkx.add_path(arrows, [source, *crossed, target])
        heights |= {waypoint: waypoint[-1] for waypoint in crossed}
    return arrows, heights


def arrange(links: networkx.Graph, layers: list[list]) -> dict:
    """Return a horizontal position of each node, near the nodes that it is linked to and apart from others."""
    columns = {node: float(place) for row in layers for place, node in enumerate(sorted(row, key=str))}
    for sweep in range(SWEEPS):
        for row in layers if sweep % 2 else reversed(layers):
            wanted = {node: np.mean([columns[other] for other in links[node]]) for node in row}
            edge = -np.inf
            for node in sorted(row, key=lambda node: wanted[node]):
                half = BOX[0] / 2 if isinstance(node, str) else 0.1
                columns[node] = max(wanted[node], edge + half)
                edge = columns[node] + half + 0.3
            shift = np.mean([wanted[node] - columns[node] for node in row])
            columns |= {node: columns[node] + shift for node in row}
    return columns


def draw_box(axes: Axes, node: object, modules: int, centre: tuple[float, float]) -> None:
    """Draw a package with its number of modules, a single module, or the part of an arrow that crosses a layer."""
    width, height = BOX if isinstance(node, str) else BOX * [0, 1]
    colour = COLOURS[str(node).split(".")[0]] if modules > 1 else "white"
    corner = np.array(centre) - (width / 2, height / 2)
    axes.add_patch(Rectangle(corner, width, height, facecolor=colour, edgecolor=LINE["color"]))
    if isinstance(node, str):
        text = f"{node}\n{modules} modules" if modules > 1 else node
        axes.text(*centre, text, ha="center", va="center", fontsize=10, linespacing=1.3)


if __name__ == "__main__":
    main()
