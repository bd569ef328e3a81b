import json
import re
from collections import Counter
from pathlib import Path

import pytest

from service.jobs.queue import QueueStatus
from service.monitoring.metrics import Metrics
from service.settings import Settings

DASHBOARD = Path(__file__).parents[1] / "docker" / "grafana" / "glioserve.json"
NOT_METRICS = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\bby *\([^)]*\)')  # labels and durations in a query
NAME = re.compile(r"\b[A-Za-z_:][\w:]*\b(?! *\()")  # except names of functions


@pytest.fixture(scope="module")
def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


@pytest.fixture(scope="module")
def charts(panels):
    """The panels with a chart: all but the row headings."""
    return [panel for panel in panels if panel["type"] != "row"]


@pytest.fixture(scope="module")
def shown(charts):
    """The names of all series in the queries of the panels."""
    queries = [target["expr"] for chart in charts for target in chart["targets"]]
    return {name for query in queries for name in NAME.findall(NOT_METRICS.sub(" ", query))}


@pytest.fixture(scope="module")
def exposed():
    """The names of the series of each metric of the service."""
    text = Metrics(Settings()).render(QueueStatus(depth=0, running=0, spool_bytes=0, is_ready=True)).decode()
    return {
        metric: {f"{metric}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {metric}
        for metric, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        if not metric.endswith("_created")
    }


def test_the_dashboard_queries_only_exposed_metrics(shown, exposed):
    assert shown
    assert shown <= set().union(*exposed.values())


def test_every_metric_of_the_service_is_on_the_dashboard(shown, exposed):
    own = {metric: series for metric, series in exposed.items() if metric.startswith("glioserve_")}
    assert own
    assert [metric for metric, series in own.items() if not series & shown] == []


def test_no_panels_overlap_or_exceed_the_grid(panels):
    positions = [panel["gridPos"] for panel in panels]
    cells = Counter(
        (x, y)
        for position in positions
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    )
    assert [cell for cell, count in cells.items() if count > 1] == []
    assert max(x for x, _ in cells) < 24


def test_every_panel_has_a_title_and_a_description(panels, charts):
    assert [panel["id"] for panel in panels if not panel.get("title")] == []
    assert [chart["title"] for chart in charts if not chart.get("description")] == []


def test_every_panel_has_a_unique_id(panels):
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_panel_uses_the_selected_data_source_and_instance(charts):
    assert {chart["datasource"]["uid"] for chart in charts} == {"${datasource}"}
    queries = [target["expr"] for chart in charts for target in chart["targets"]]
    assert [query for query in queries if 'instance="$instance"' not in query] == []
