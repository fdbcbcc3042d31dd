"""The notebooks as files: imports in order, outputs that any machine gives again."""

from __future__ import annotations

import ast
import re
from itertools import takewhile
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted(
    (ROOT / "notebooks" / "solutions").glob("*.ipynb")
)
#: What loads torch, and with it OpenMP.
LOADS_TORCH = {"torch", "torchvision", "compressai", "pytorch_msssim", "accelerate", "safetensors"}


def imported(source: str) -> list[str]:
    """First parts of the names of all imported modules, in order, wherever they stand."""
    found = []
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        found += [name.partition(".")[0] for name in names]
    return found


def library_comes_first(sources: list[str]) -> bool:
    """Whether ``dictco_lib`` is imported in the first cell, and nothing with torch before it."""
    before = list(takewhile(lambda name: name != "dictco_lib", imported(sources[0])))
    return "dictco_lib" in imported(sources[0]) and not LOADS_TORCH & set(before)


def test_the_order_of_imports_is_seen_wherever_they_stand():
    assert library_comes_first(["import numpy\nimport dictco_lib\nimport torch", "import torch"])
    assert library_comes_first(["from dictco_lib.images import demo_images\nfrom torch import nn"])
    assert not library_comes_first(["import torch\nimport dictco_lib"])
    assert not library_comes_first(["from torch import nn\nfrom dictco_lib.book import checks"])
    assert not library_comes_first(["if True:\n    import compressai.models\nimport dictco_lib"])
    assert not library_comes_first(["import numpy", "import dictco_lib"])


# OpenMP reads how its idle threads wait once, when torch is loaded; the library sets it before.
@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_notebook_imports_the_library_before_torch(path):
    cells = nbformat.read(path, as_version=4).cells
    assert library_comes_first([cell.source for cell in cells if cell.cell_type == "code"])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_kept_outputs_are_those_of_any_machine(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size <= 2_000_000 and "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert len(cell.source.splitlines()) <= 25
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in cell.metadata.tags
            said = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not re.search(r"(?<![\w.])/(home|root|tmp|usr|work|Users)/|[A-Z]:\\", said), said
            assert output.get("name") != "stderr", said
