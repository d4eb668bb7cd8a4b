"""What every test text came to in a training: a small file beside the result.

Test texts are a sample. From their own losses it can be told how far a difference between two arms
would move with other texts.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from adarank_core.files import read_bytes, write_whole

__all__ = ["TEXTS_FILE", "read_text_results", "write_text_results"]

TEXTS_FILE = "texts.npz"
MEGABYTES = 50  # ten million texts
# Of a mean, relative and absolute: losses are kept in single precision.
ROUNDING = {"rtol": 1e-4, "atol": 1e-6}


def write_text_results(folder: Path, results: dict[str, np.ndarray]) -> None:
    """Write what every test text came to, compressed, as ``texts.npz``.

    Parameters
    ----------
    folder : pathlib.Path
        A training's; made if missing.
    results : dict of str to numpy.ndarray
        By metric, such as ``test_loss``: one number a test text, in the order of the task's rows.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_text_results(folder, {"test_loss": np.array([0.25, 0.75], np.float32)})
    >>> read_text_results(folder, {"test_loss": 0.5})
    {'test_loss': array([0.25, 0.75], dtype=float32)}
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, **results)
    write_whole(folder / TEXTS_FILE, packed.getvalue())


def read_text_results(folder: Path, result: dict) -> dict[str, np.ndarray]:
    """Read what every test text came to, if it is there and is this training's.

    Parameters
    ----------
    folder : pathlib.Path
        A training's.
    result : dict
        Its ``result.json``, whose metrics are the means over the texts.

    Returns
    -------
    dict of str to numpy.ndarray
        Empty where the file is missing, damaged or of another training: nothing but an interval
        hangs on it.

    Examples
    --------
    >>> read_text_results(Path("missing"), {"test_loss": 0.5})
    {}
    """
    try:
        packed = read_bytes(folder / TEXTS_FILE, MEGABYTES)
        with zipfile.ZipFile(io.BytesIO(packed)) as file:
            unpacked = sum(entry.file_size for entry in file.infolist())
        if unpacked > MEGABYTES * 1e6:
            return {}
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if result.get(name) is not None}
        known = found and all(_fits(found[name], result[name]) for name in found)
    except Exception:  # whatever the bytes of a file of anything lead NumPy and zlib to
        return {}
    return found if known else {}


def _fits(values: np.ndarray, mean: float) -> bool:
    """Tell whether there is one number a text, and their mean is the training's."""
    numbers = values.ndim == 1 and values.dtype.kind in "fb" and len(values) > 0
    return numbers and bool(np.isclose(values.mean(dtype=np.float64), mean, **ROUNDING))
