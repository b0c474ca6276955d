"""The public names are what the root says they are."""

from __future__ import annotations

import subprocess
import sys

import tipnlp


def test_names_are_sorted_and_resolve() -> None:
    assert tipnlp.__all__ == sorted(tipnlp.__all__)
    for name in tipnlp.__all__:
        found = getattr(tipnlp, name)
        assert found.__doc__
        assert found.__module__.startswith("tipnlp.")


def test_import_is_light() -> None:
    code = "import sys, tipnlp; sys.exit(bool({'spacy', 'sklearn', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
