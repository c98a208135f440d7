"""Operators to try the suite with."""

import time
from typing import Any

from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed


@operator(name="echo", version="1")
def echo(value: Any = None) -> Any:
    """Returns its value."""
    return value


@operator(name="fail", version="1")
def fail(message: str = "asked to fail") -> None:
    """Raises an error with the message."""
    raise RuntimeError(message)


@operator(name="sleep", version="1")
def sleep(ctx: Context, seconds: float = 1.0) -> float:
    """Waits, telling its progress, and returns the seconds waited. A change of ``seconds`` counts at once."""
    if not seconds >= 0:
        raise OperatorFailed(f"seconds must not be negative, got {seconds}")
    start = time.monotonic()
    while (passed := time.monotonic() - start) < (total := float(ctx.params.get("seconds", seconds))):
        ctx.progress(passed / total)
        time.sleep(min(0.05, total - passed))
    return round(time.monotonic() - start, 3)


@operator(name="pi", version="1")
def pi(ctx: Context, digits: int = 1000) -> str:
    """Computes pi to so many decimal places. Work for one core, with progress."""
    if not 1 <= digits <= 100_000:
        raise OperatorFailed(f"digits must be between 1 and 100000, got {digits}")
    # Machin: pi = 16 arctan(1/5) - 4 arctan(1/239), in integers with ten guard digits.
    unity = 10 ** (digits + 10)
    first = _arctan(ctx, unity, 5, digits, 0.0, 0.7)
    second = _arctan(ctx, unity, 239, digits, 0.7, 0.3)
    text = str((16 * first - 4 * second) // 10**10)
    return f"{text[0]}.{text[1:]}"


def _arctan(ctx: Context, unity: int, inverse: int, digits: int, done: float, share: float) -> int:
    power = total = unity // inverse
    divisor, sign, size = 1, 1, power.bit_length()
    while power:
        power //= inverse * inverse
        divisor, sign = divisor + 2, -sign
        total += sign * (power // divisor)
        if divisor % 1000 == 1:
            ctx.progress(done + share * (1 - power.bit_length() / size), f"{digits} digits")
    return total
