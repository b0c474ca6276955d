"""tipnlp: sort investigation descriptions into forced labour, sex trafficking and not trafficking.

The names below are the public interface; each is imported when it is first used, so that
`import tipnlp` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Case": "cases",
    "Evaluation": "evaluation",
    "Explanation": "explanation",
    "Model": "model",
    "Prediction": "prediction",
    "TipnlpError": "errors",
    "compare_predictions": "comparison",
    "evaluate_predictions": "evaluation",
    "explain_cases": "explanation",
    "load_model": "model",
    "predict_cases": "prediction",
    "read_cases": "reading",
    "save_model": "model",
    "tally_records": "tally",
    "train_model": "training",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table above is the one list of names


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tipnlp' has no attribute {name!r}")
    return getattr(import_module(f"tipnlp.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
