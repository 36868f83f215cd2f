"""The launch report: one self-contained HTML file."""

from launchyard.report.inputs import Lineage, ReportInputs
from launchyard.report.render import render_report, write_report

__all__ = ["Lineage", "ReportInputs", "render_report", "write_report"]
