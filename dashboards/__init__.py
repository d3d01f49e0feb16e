"""Grafana dashboards as code; `python -m dashboards` writes their JSON into the chart. Not part of any package."""
