"""Loading a joblib file through a closed list of classes: nothing else can run.

A pickle can name any function and have it called. Here every name that the file asks for is
looked up in `ALLOWED`; anything else ends the load before it is imported. Arrays of Python
objects, which hold a pickle of their own, are refused as well.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

from tipnlp.errors import UnsafeModelError

ALLOWED = frozenset(
    {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("sklearn.linear_model._logistic", "LogisticRegression"),
        ("sklearn.pipeline", "Pipeline"),
        ("tipnlp.features", "ConceptPairs"),
        ("tipnlp.features", "Concepts"),
        ("tipnlp.features", "Subwords"),
        ("tipnlp.features", "WordPairs"),
        ("tipnlp.features", "Words"),
        ("tipnlp.preprocess", "Preprocessor"),
        ("tipnlp.weighting", "FeatureFamilies"),
    }
)


class ClosedUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """An unpickler that knows the names in `ALLOWED` and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class.

        Raises:
            UnsafeModelError: the file asks for anything else.
        """
        if (module, name) not in ALLOWED:
            raise UnsafeModelError(f"asks for {module}.{name}, which no tipnlp model needs")
        found = getattr(importlib.import_module(module), name)
        return GuardedArrayWrapper if found is NumpyArrayWrapper else found


class GuardedArrayWrapper(NumpyArrayWrapper):  # type: ignore[misc]
    """joblib's array reader without its way into a nested pickle."""

    def read_array(self, unpickler: Any, ensure_native_byte_order: bool) -> Any:
        """Read an array of numbers or text.

        Raises:
            UnsafeModelError: it is an array of Python objects.
        """
        if self.dtype.hasobject:
            raise UnsafeModelError("holds an array of Python objects, which no tipnlp model needs")
        return super().read_array(unpickler, ensure_native_byte_order)


def load_closed(path: Path) -> Any:
    """Load a joblib file made of allowed classes only.

    Raises:
        UnsafeModelError: the file asks for other classes, or is not a pickle that can be read.
    """
    with path.open("rb") as stream:
        unpickler = ClosedUnpickler(str(path), stream, ensure_native_byte_order=False)
        try:
            return unpickler.load()
        except UnsafeModelError as error:
            raise UnsafeModelError(f"{path}: refused: {error}") from None
        except Exception as error:  # noqa: BLE001 - a broken pickle may raise anything
            raise UnsafeModelError(f"{path}: cannot be read ({type(error).__name__})") from None
