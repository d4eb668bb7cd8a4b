"""How numbers are written for people: digits that count, errors beside them, the true minus."""

__all__ = ["number", "signed", "true_minus", "with_error"]


def true_minus(text: str) -> str:
    """Return a written number with the minus of typography, which is as wide as the plus.

    Examples
    --------
    >>> true_minus("-0.5"), true_minus(f"{-3:,}")
    ('−0.5', '−3')
    """
    return text.replace("-", "−")


def signed(value: float, decimals: int = 3, unit: str = "") -> str:
    """Write a number with its sign and so many decimals; what rounds to nothing is no minus.

    Parameters
    ----------
    value : float
    decimals : int
    unit : {"", "%"}
        With ``"%"`` a share is written as a percentage.

    Examples
    --------
    >>> signed(-0.0123), signed(0.5, 2), signed(-0.0001), signed(-0.125, 1, "%")
    ('−0.012', '+0.50', '+0.000', '−12.5%')
    """
    return true_minus(f"{value:+z.{decimals}{unit or 'f'}}")


def number(value: float) -> str:
    """Write a number with three digits that count.

    Examples
    --------
    >>> number(0.0053818), number(1.5), number(0.0), number(1234.5), number(-0.25)
    ('0.00538', '1.50', '0', '1,230', '−0.250')
    """
    if value == 0:
        return "0"
    if not 1e-5 <= abs(value) < 1e6:
        return true_minus(f"{value:.2e}")
    text = f"{float(f'{value:.2e}'):#.3g}" if abs(value) < 1000 else f"{float(f'{value:.2e}'):,.0f}"
    return true_minus(text.rstrip("."))


def with_error(value: float, error: float | None, digits: int = 2) -> str:
    """Write a value and its error with the digits that the error leaves meaning to.

    Without an error, or with one of nothing, the value stands alone.

    Parameters
    ----------
    value : float
    error : float or None
    digits : int
        Of the error, that count.

    Examples
    --------
    >>> with_error(0.0053818, 0.00088), with_error(12.3456, 1.2), with_error(0.5, 0.0)
    ('0.00538 ± 0.00088', '12.3 ± 1.2', '0.500')
    >>> with_error(0.9949, 0.00073, digits=1), with_error(-0.103, 0.0056, digits=1)
    ('0.9949 ± 0.0007', '−0.103 ± 0.006')
    """
    if not error:
        return number(value)
    if not 1e-6 <= error < 100:
        return f"{number(value)} ± {number(error)}"
    exponent = int(f"{error:.{digits - 1}e}".split("e")[1])
    decimals = max(0, digits - 1 - exponent)
    return f"{true_minus(f'{value:z,.{decimals}f}')} ± {error:,.{decimals}f}"
