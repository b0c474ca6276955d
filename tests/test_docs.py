"""What the documents tell a reader to do, done."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import tipnlp
from conftest import ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


def test_guide_names_every_public_name() -> None:
    missing = [name for name in tipnlp.__all__ if not re.search(rf"\b{name}\b", GUIDE)]
    assert missing == []


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "models" / "default").exists(), reason="the default model is not trained")
def test_examples_of_the_guide_run() -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Authorities opened 11 investigations in 2020" in done.stdout
