"""Arithmetic on untrusted text: decimal, bounded in size and time, and nothing but arithmetic.

Numbers are decimals of 60 digits, so 0.1 + 0.2 is 0.3 and 50-digit integers are exact. Python's parser reads the text;
of its syntax tree only the nodes below are known, the rest is an error. Nothing is ever evaluated as code.
"""

import ast
import decimal
import math
from collections.abc import Callable
from decimal import Decimal

DIGITS = 60
SHOWN_DIGITS = 28
MAX_LENGTH = 500
MAX_DEPTH = 64
MAX_EXPONENT = 10_000


class BadExpression(Exception):
    """Not an expression, or one whose value cannot be given; the message says why."""


def _real(fn: Callable[[float], float]) -> Callable[[Decimal], Decimal]:
    """A function known to 15 digits only."""
    return lambda x: Decimal(repr(fn(float(x))))


def _log(x: Decimal, base: Decimal | None = None) -> Decimal:
    return x.ln() if base is None else x.ln() / base.ln()


def _round(x: Decimal, digits: Decimal = Decimal(0)) -> Decimal:
    if digits != int(digits) or abs(digits) > DIGITS:
        raise BadExpression("round() takes a small whole number of digits")
    return x.quantize(Decimal(1).scaleb(-int(digits)), rounding=decimal.ROUND_HALF_UP)


_CONSTANTS = {
    "pi": Decimal("3.14159265358979323846264338327950288419716939937510582097494"),
    "e": Decimal("2.71828182845904523536028747135266249775724709369995957496697"),
}
_CONSTANTS["tau"] = _CONSTANTS["pi"] * 2

_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Decimal]]] = {
    "abs": (1, 1, abs),
    "sqrt": (1, 1, Decimal.sqrt),
    "exp": (1, 1, Decimal.exp),
    "ln": (1, 1, Decimal.ln),
    "log": (1, 2, _log),
    "log10": (1, 1, Decimal.log10),
    "floor": (1, 1, lambda x: x.to_integral_value(decimal.ROUND_FLOOR)),
    "ceil": (1, 1, lambda x: x.to_integral_value(decimal.ROUND_CEILING)),
    "round": (1, 2, _round),
    "min": (1, 20, min),
    "max": (1, 20, max),
    "sin": (1, 1, _real(math.sin)),
    "cos": (1, 1, _real(math.cos)),
    "tan": (1, 1, _real(math.tan)),
}


def calculate(expression: str) -> str:
    """The value of *expression*, as decimal text. Takes well under a second, whatever it is. Raises `BadExpression`."""
    if len(expression) > MAX_LENGTH:
        raise BadExpression(f"the expression is longer than {MAX_LENGTH} characters")
    text = expression.strip().replace("^", "**").replace("\u00d7", "*").replace("\u00f7", "/").replace("\u2212", "-")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise BadExpression(f"not an arithmetic expression: {reason}") from error
    context = decimal.Context(
        prec=DIGITS,
        Emax=MAX_EXPONENT,
        Emin=-MAX_EXPONENT,
        traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
    )
    with decimal.localcontext(context):
        try:
            return _shown(_value(tree, text, 0))
        except (decimal.DivisionByZero, decimal.DivisionUndefined) as error:
            raise BadExpression("division by zero") from error
        except decimal.Overflow as error:
            raise BadExpression(f"the result has more than {MAX_EXPONENT} digits") from error
        except decimal.InvalidOperation as error:
            raise BadExpression("the result is not a real number") from error
        except (OverflowError, ValueError) as error:
            raise BadExpression(f"cannot be calculated: {error}") from error


def _value(node: ast.expr, text: str, depth: int) -> Decimal:
    if depth > MAX_DEPTH:
        raise BadExpression("the expression is nested too deeply")
    match node:
        case ast.Constant(value=bool() | str() | bytes() | None):
            raise BadExpression(f"only numbers can be calculated with, not {node.value!r}")
        case ast.Constant(value=int(number)):
            return +Decimal(number)
        case ast.Constant(value=float()):
            written = ast.get_source_segment(text, node) or repr(node.value)
            return +Decimal(written.replace("_", ""))
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, text, depth + 1)
        case ast.UnaryOp(op=ast.UAdd()):
            return _value(node.operand, text, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right):
            return _binary(operator, _value(left, text, depth + 1), _value(right, text, depth + 1))
        case ast.Name(id=name) if name in _CONSTANTS:
            return +_CONSTANTS[name]
        case ast.Name(id=name):
            raise BadExpression(f"unknown name {name!r}; there are: {', '.join(sorted({*_CONSTANTS, *_FUNCTIONS}))}")
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            least, most, function = _FUNCTIONS[name]
            if not least <= len(arguments) <= most:
                raise BadExpression(f"{name}() takes {least if least == most else f'{least} to {most}'} argument(s)")
            return +function(*(_value(argument, text, depth + 1) for argument in arguments))
        case _:
            raise BadExpression(f"not arithmetic: {(ast.get_source_segment(text, node) or text)[:60]!r}")


def _binary(operator: ast.operator, left: Decimal, right: Decimal) -> Decimal:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return (left / right).to_integral_value(decimal.ROUND_FLOOR)
        case ast.Mod() if not right:
            raise decimal.DivisionByZero
        case ast.Mod():
            remainder = left % right
            return remainder + right if remainder and (remainder < 0) != (right < 0) else remainder
        case ast.Pow():
            return left**right
        case _:
            raise BadExpression(f"the operator {type(operator).__name__} is not arithmetic")


def _shown(value: Decimal) -> str:
    """Whole numbers in full, others to 28 digits, without trailing zeros."""
    if not value.is_finite():
        raise BadExpression("the result is infinite")
    if not value:
        return "0"
    if value == value.to_integral_value() and value.adjusted() < DIGITS:
        return f"{value.to_integral_value():f}"
    rounded = decimal.Context(prec=SHOWN_DIGITS, Emax=MAX_EXPONENT, Emin=-MAX_EXPONENT).plus(value).normalize()
    return f"{rounded:f}" if -20 < rounded.adjusted() < SHOWN_DIGITS else f"{rounded:E}"
