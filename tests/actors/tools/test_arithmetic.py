"""Arithmetic on whatever a model sends."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cost import least_seconds
from understudy.actors.tools.arithmetic import BadExpression, calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1+1", "2"),
        ("0.1 + 0.2", "0.3"),
        ("(17 * 3) / 4", "12.75"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7 % -3", "-2"),
        ("2 ** 10", "1024"),
        ("2^10", "1024"),
        ("6 \u00d7 7 \u00f7 2", "21"),
        ("2 ** 0.5", "1.414213562373095048801688724"),
        ("1/3", "0.3333333333333333333333333333"),
        ("99999999999999999999 * 99999999999999999999", "9999999999999999999800000000000000000001"),
        ("1_000 * 2", "2000"),
        ("0x10", "16"),
        ("sqrt(2) * sqrt(2)", "2"),
        ("round(2.5)", "3"),
        ("round(1/3, 4)", "0.3333"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("min(3, 1, 2) + max(1, 2)", "3"),
        ("log(8, 2)", "3"),
        ("log10(1000)", "3"),
        ("ln(e)", "1"),
        ("cos(0)", "1"),
        ("2 ** 10000", "1.995063116880758384883742163E+3010"),
        ("1e-30", "1E-30"),
        ("tau / pi", "2"),
        ("-0", "0"),
    ],
)
def test_it_calculates(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("1/0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("5 // 0", "division by zero"),
        ("0/0", "not a real number"),
        ("sqrt(-1)", "not a real number"),
        ("(-8) ** (1/3)", "not a real number"),
        ("ln(0)", "infinite"),
        ("9**9**9**9", "more than 10000 digits"),
        ("exp(exp(exp(9)))", "more than 10000 digits"),
        ("", "not an arithmetic expression"),
        ("1 +", "not an arithmetic expression"),
        ("3!", "not an arithmetic expression"),
        ("(" * 200, "not an arithmetic expression"),
        ("\0", "not an arithmetic expression"),
        ("x", "unknown name 'x'; there are: abs"),
        ("factorial(3)", "not arithmetic"),
        ("max()", "takes 1 to 20"),
        ("sqrt(1, 2)", "takes 1 argument"),
        ("round(5, 99999999)", "small whole number"),
        ("1 << 9", "LShift"),
        ("True + 1", "only numbers"),
        ("'a' * 9", "only numbers"),
        ("1j", "not arithmetic"),
        ("2, 5", "not arithmetic"),
        ("1 if 2 else 3", "not arithmetic"),
        ("[1 for x in (1,)]", "not arithmetic"),
        ("__import__('os').system('id')", "not arithmetic"),
        ("(1).__class__", "not arithmetic"),
        ("lambda: 1", "not arithmetic"),
        ("x := 5", "not an arithmetic expression"),
        ("abs(x=1)", "not arithmetic"),
        ("max(*(1, 2))", "not arithmetic"),
        ("-" * 400 + "1", "nested too deeply"),
        ("1" * 501, "longer than 500"),
    ],
)
def test_what_it_cannot_calculate_it_names(expression: str, words: str) -> None:
    with pytest.raises(BadExpression, match=words.replace("(", r"\(").replace("*", r"\*")):
        calculate(expression)


@given(st.text(st.sampled_from("0123456789.+-*/%()e ^,xsqrtpi\u00d7!"), max_size=60))
def test_any_text_gives_a_value_or_a_named_error_in_no_time(expression: str) -> None:
    with suppress(BadExpression):
        assert calculate(expression)

    def attempt() -> None:
        with suppress(BadExpression):
            calculate(expression)

    assert least_seconds(attempt) < 0.5


@pytest.mark.parametrize(
    "expression",
    ["9" * 499, "9**" * 150 + "9", "exp(" * 60 + "9" + ")" * 60, "7.9999**99999.5", "(" * 90 + "9" + "**9)" * 90],
)
def test_the_costliest_expressions_take_no_time(expression: str) -> None:
    def attempt() -> None:
        with pytest.raises(BadExpression):
            calculate(expression + "/0")

    assert least_seconds(attempt) < 0.5


numbers = st.integers(-(10**9), 10**9)


@given(numbers, numbers, numbers)
def test_it_agrees_with_exact_arithmetic(a: int, b: int, c: int) -> None:
    expected = Fraction(a) * Fraction(b) - Fraction(c)
    assert Fraction(calculate(f"({a}) * ({b}) - ({c})")) == expected
