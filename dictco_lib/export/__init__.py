"""Models that leave torch: ONNX graphs, tables, and a script that decodes with them."""

from dictco_lib.export.graphs import SCRIPT, export_onnx, is_exported
from dictco_lib.export.tracing import check_packages

__all__ = ["SCRIPT", "check_packages", "export_onnx", "is_exported"]
