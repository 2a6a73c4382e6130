"""What docs/deploy holds: rules, alerts, dashboard and services, each checked by its own tool."""

from __future__ import annotations

import json
import re
import shutil
from itertools import chain
from pathlib import Path

import pytest
import yaml
from tests.monitoring.pages import promtool
from tests.services import needed

from backtest_py.monitoring.catalogue import METRICS, PROCESS
from backtest_py.monitoring.instruments import Histogram

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
DASHBOARD = json.loads(
    (DEPLOY / "grafana" / "dashboards" / "backtest-py.json").read_text(encoding="utf-8")
)
PROMETHEUS_OWN = {"up", "ALERTS"}
DECLARED = {metric.name: metric for metric in METRICS}
SERIES = (
    {
        f"{name}{suffix}"
        for name, metric in DECLARED.items()
        for suffix in (("_bucket", "_sum", "_count") if isinstance(metric, Histogram) else ("",))
    }
    | set(PROCESS)
    | PROMETHEUS_OWN
)


@pytest.fixture(scope="module", autouse=True)
def _programs():
    if shutil.which("promtool") is None:
        needed("promtool")


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(kind):
    """Return the rules of a kind ("record" or "alert") by name."""
    groups = chain.from_iterable(load(path)["groups"] for path in RULES)
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


RECORDED = rules("record")
ALERTS = rules("alert")
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def plain(expression):
    """Return a dashboard's expression with values in the place of Grafana's variables."""
    found = expression.replace("$__rate_interval", "1m")
    return re.sub(r'=~"\$(job|instance)"', '=~".+"', found)


PANEL_EXPRESSIONS = [
    (panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]
]
EXPRESSIONS = [
    *((title, plain(expression)) for title, expression in PANEL_EXPRESSIONS),
    *((name, rule["expr"]) for name, rule in (RECORDED | ALERTS).items()),
]


def names_in(expression):
    """Return the names of metrics in an expression, and label names by metric."""
    text = re.sub(r"\[[^\]]*\]", "", expression)
    text = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    selectors = dict.fromkeys(re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", text))
    text = re.sub(r'"(?:[^"\\]|\\.)*"', "", re.sub(r"\{[^}]*\}", "", text))
    found = set(re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])", text))
    found -= {"and", "or", "unless", "bool", "offset", "sum", "max", "min", "avg", "count"}
    return found, selectors


def declared_labels(name):
    base = re.sub(r"_(bucket|sum|count)$", "", name) if name not in DECLARED else name
    return DECLARED[base].labels if base in DECLARED else {}


def test_the_reader_of_expressions_finds_every_name():
    text = 'sum by (a, b) (rate(x_total{c="d_total"}[5m])) / on (e) f:g:rate5m > 2 * h and up == 1'
    names, selectors = names_in(text)
    assert names == {"x_total", "f:g:rate5m", "h", "up"}
    assert selectors == {("x_total", 'c="d_total"'): None}
    assert names_in("histogram_quantile(0.5, sum by (le) (rate(y_bucket[1m])))")[0] == {"y_bucket"}


def test_promtool_accepts_rules_and_configuration(tmp_path):
    assert len(RECORDED) >= 8
    assert len(ALERTS) >= 15
    for path in RULES:
        assert "SUCCESS" in promtool("check", "rules", path)
    assert "SUCCESS" in promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path):
    file = tmp_path / "panels.yml"
    group = {
        "name": "panels",
        "rules": [
            {"record": f"panel:{number}", "expr": plain(expression)}
            for number, (_, expression) in enumerate(PANEL_EXPRESSIONS)
        ],
    }
    file.write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    assert f"{len(PANEL_EXPRESSIONS)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_every_name_in_an_expression_exists(where, expression):
    names, selectors = names_in(expression)
    assert names
    assert names <= SERIES | set(RECORDED), where
    for name, matchers in selectors:
        known = declared_labels(name)
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            if label in {"job", "instance", "alertname", "alertstate"} or name in RECORDED:
                continue
            assert label in known, (where, name, label)
            values = value.split("|") if operator in {"=~", "!~"} else [value]
            assert not known[label] or set(values) <= set(known[label]), (where, name, values)


def test_every_metric_is_on_the_dashboard_or_in_the_guide():
    shown = set().union(*(names_in(plain(expression))[0] for _, expression in PANEL_EXPRESSIONS))
    for name in shown & set(RECORDED):
        shown |= names_in(RECORDED[name]["expr"])[0]
    shown |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    for name in (*DECLARED, *PROCESS):
        assert name in shown or f"`{name}`" in GUIDE, name
    unused = set(RECORDED) - set().union(*(names_in(text)[0] for _, text in EXPRESSIONS))
    assert not unused


def test_the_dashboard_is_what_grafana_takes():
    assert DASHBOARD["uid"] == "backtest-py"
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["w"] >= 1
        assert at["h"] >= 1
        assert at["x"] + at["w"] <= 24
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        cells |= own
    for panel in PANELS:
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert {"Tiers of market data", "Exchange", "Sweeps"} <= set(rows)


def test_every_alert_has_words_and_a_place_in_the_guide():
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert f"`{name}`" in GUIDE, name
    assert set(re.findall(r"`(BacktestPy\w+)`", GUIDE)) == set(ALERTS)


def test_alerts_fire_and_end_as_they_should(tmp_path):
    text = (Path(__file__).parent / "alerts_test.yml").read_text(encoding="utf-8")
    for path in RULES:
        shutil.copy(path, tmp_path)
    (tmp_path / "alerts_test.yml").write_text(text, encoding="utf-8")
    tests = yaml.safe_load(text)["tests"]
    steps = [step for test in tests for step in test.get("alert_rule_test", ())]
    assert {step["alertname"] for step in steps if step["exp_alerts"]} == set(ALERTS)
    assert {step["alertname"] for step in steps if not step["exp_alerts"]} == set(ALERTS)
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_services_listen_on_loopback_alone_and_hold_no_secret():
    compose = load(DEPLOY / "compose.yml")
    services = compose["services"]
    assert set(services) == {"postgres", "prometheus", "grafana"}
    for name, service in services.items():
        assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+", service["image"]), name
        assert service["healthcheck"]["test"]
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), name
        assert ("ports" in service) != (service.get("network_mode") == "host"), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_dir(), source
            else:
                assert source in compose["volumes"]
        for secret in service.get("secrets", ()):
            assert compose["secrets"][secret]["file"].startswith("./secrets/")
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert variable.endswith("_FILE")
                assert str(value).removeprefix("/run/secrets/") in service["secrets"]
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert "secrets/" in (DEPLOY / ".gitignore").read_text(encoding="utf-8")


def test_grafana_finds_prometheus_and_the_dashboard():
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = load(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    (provider,) = load(provisioning / "dashboards" / "backtest-py.yml")["providers"]
    mounted = load(DEPLOY / "compose.yml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounted


def test_the_guide_and_the_configuration_name_one_port():
    config = load(DEPLOY / "prometheus" / "prometheus.yml")
    job = config["scrape_configs"][0]
    assert job["job_name"] == "backtest-py"
    (address,) = job["static_configs"][0]["targets"]
    host, port = address.split(":")
    assert host == "127.0.0.1"
    assert f"--metrics-port {port}" in GUIDE
