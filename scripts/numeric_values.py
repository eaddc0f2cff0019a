#!/usr/bin/env python3
"""Writes tests/fixtures/numeric/values.txt: functions, arguments and values with 130 digits by mpmath.

    pip install mpmath && python3 scripts/numeric_values.py > tests/fixtures/numeric/values.txt
"""
import mpmath

mpmath.mp.dps = 400
ARGUMENTS = ["1", "-1", "2", "1/2", "-7/3", "10", "1/1000", "-1/1000000007", "355/113", "22/7",
             "99/70", "-140/99", "1000003/1000000", "999999/1000000", "12345/67", "700", "-333",
             "1/100000000000000000000000000000000000", "3/10000000000000000000000000000000000000001"]
WIDE = ["1000000000000000000000000000000", "-98765432109876543210987654321/7", "1/3"]
FUNCTIONS = {
    "exp": (mpmath.exp, ARGUMENTS),
    "ln": (mpmath.log, [a for a in ARGUMENTS + WIDE if a[0] != "-"]),
    "sin": (mpmath.sin, ARGUMENTS + WIDE),
    "cos": (mpmath.cos, ARGUMENTS + WIDE),
    "arctan": (mpmath.atan, ARGUMENTS + WIDE),
    "sqrt": (mpmath.sqrt, [a for a in ARGUMENTS + WIDE if a[0] != "-"]),
    "cbrt": (mpmath.cbrt, [a for a in ARGUMENTS + WIDE if a[0] != "-"]),
    "arcsin": (mpmath.asin, ["1/2", "-3/5", "999999/1000000", "1/1000", "-1/1000000007"]),
    "arccos": (mpmath.acos, ["1/2", "-3/5", "999999/1000000", "1/1000", "-1/1000000007"]),
    "arcsinh": (mpmath.asinh, ["1", "-7/3", "1000", "1/1000"]),
    "arccosh": (mpmath.acosh, ["2", "1000001/1000000", "1000"]),
    "arctanh": (mpmath.atanh, ["1/2", "-999/1000"]),
}

print("# Written by scripts/numeric_values.py with mpmath", mpmath.__version__)
print("pi 0", mpmath.nstr(mpmath.pi, 130, strip_zeros=False, min_fixed=0, max_fixed=0))
for name, (function, arguments) in FUNCTIONS.items():
    for argument in arguments:
        top, _, bottom = argument.partition("/")
        value = function(mpmath.mpf(int(top)) / int(bottom or 1))
        digits = mpmath.nstr(value, 130, strip_zeros=False, min_fixed=0, max_fixed=0)
        print(name, argument, digits)
