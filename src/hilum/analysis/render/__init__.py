"""Reports: JSON for machines, a self-contained page for people, pictures for both, an index of each call."""

from hilum.analysis.render.files import safe_name
from hilum.analysis.render.index import write_index
from hilum.analysis.render.page import notebook_html, report_html
from hilum.analysis.render.schema import report_schema
from hilum.analysis.render.write import FORMATS, write_beside, write_report

__all__ = [
    "FORMATS",
    "notebook_html",
    "report_html",
    "report_schema",
    "safe_name",
    "write_beside",
    "write_index",
    "write_report",
]
