"""Train `models/default` from `corpus/`: the model that `tipnlp` uses when none is named."""

from __future__ import annotations

import sys

from tipnlp.cli import app

if __name__ == "__main__":
    app(["train", "corpus", "-o", "models/default", "--force", *sys.argv[1:]])
