//! Named functions of real balls, apart from the elementary ones.

use dashu_int::IBig;

use super::Fail;
use super::ball::Ball;
use super::complex::Complex;
use super::elementary::{Constants, arc_tangent, exponential, logarithm};
use super::magnitude::Magnitude;
use crate::answer::budget::Budget;

/// The maximum `n` in `n!` and the maximum `k` in a binomial coefficient.
const MAX_FACTORIAL: i64 = 500;

type Computed = Result<Ball, Fail>;

/// Evaluates a named function.
pub(super) fn real(
    name: &str,
    arguments: &[Ball],
    bits: usize,
    constants: &mut Constants,
    budget: &mut Budget,
) -> Computed {
    match arguments {
        [] if name == "minus_one" => Ok(Ball::whole(-1)),
        [x] => of_one(name, x, bits, constants, budget),
        [n, k] if name == "binom" => binomial(n, k, bits, budget),
        [a, m] if name == "mod" => {
            // a - m·⌊a/m⌋.
            let whole = the_floor(&a.divide(m, bits)?)?;
            let whole = Ball::new(whole, 0, Magnitude::ZERO, bits)?;
            a.subtract(&m.multiply(&whole, bits)?, bits)
        }
        [x, n] if name == "^" => power(x, n, bits, constants),
        [first, rest @ ..] if matches!(name, "max" | "min") => {
            let mut best = first.clone();
            for next in rest {
                // (a + b ± |a - b|) / 2.
                let distance = best.subtract(next, bits)?.absolute();
                let sum = best.add(next, bits)?;
                let twice = if name == "max" {
                    sum.add(&distance, bits)?
                } else {
                    sum.subtract(&distance, bits)?
                };
                best = twice.shift(-1, bits)?;
            }
            Ok(best)
        }
        _ => Err(Fail::Unknown),
    }
}

fn of_one(
    name: &str,
    x: &Ball,
    bits: usize,
    constants: &mut Constants,
    budget: &mut Budget,
) -> Computed {
    let one = Ball::whole(1);
    let inner = bits + 8;
    match name {
        "arctan" => arc_tangent(x, bits, constants),
        "arcsin" => {
            let (cosine, sine) = (cofunction(x, inner)?, x.clone());
            angle(cosine, sine, bits, constants)
        }
        "arccos" => {
            let (cosine, sine) = (x.clone(), cofunction(x, inner)?);
            angle(cosine, sine, bits, constants)
        }
        "arcsec" | "arccsc" => {
            let inverse = one.divide(x, inner)?;
            let name = if name == "arcsec" { "arccos" } else { "arcsin" };
            of_one(name, &inverse, bits, constants, budget)
        }
        // There are two conventions for negative numbers.
        "arccot" => match x.sign() {
            Some(1) => angle(x.clone(), one, bits, constants),
            Some(_) => Err(Fail::Unknown),
            None => Err(Fail::Unclear),
        },
        "arcsinh" => {
            // Computed for the absolute value, which avoids cancellation.
            let Some(sign) = x.sign() else {
                return Err(Fail::Unclear);
            };
            let size = x.absolute();
            let root = size
                .multiply(&size, inner)?
                .add(&one, inner)?
                .root(2, inner)?;
            let value = logarithm(&size.add(&root, inner)?, bits, constants)?;
            Ok(if sign < 0 { value.negate() } else { value })
        }
        "arccosh" => {
            let square = x.multiply(x, inner)?.subtract(&one, inner)?;
            if x.sign() != Some(1) {
                return Err(unless_clear(x));
            }
            logarithm(&x.add(&square.root(2, inner)?, inner)?, bits, constants)
        }
        "arctanh" => {
            let (top, bottom) = (one.add(x, inner)?, one.subtract(x, inner)?);
            if top.sign() != Some(1) {
                return Err(unless_clear(&top));
            }
            if bottom.sign() != Some(1) {
                return Err(unless_clear(&bottom));
            }
            logarithm(&top.divide(&bottom, inner)?, bits, constants)?.shift(-1, bits)
        }
        "coth" | "sech" | "csch" => {
            let plus = exponential(x, inner, constants)?;
            let minus = one.divide(&plus, inner)?;
            let (sum, difference) = (plus.add(&minus, inner)?, plus.subtract(&minus, inner)?);
            let two = Ball::whole(2);
            match name {
                "coth" => sum.divide(&difference, bits),
                "sech" => two.divide(&sum, bits),
                _ => two.divide(&difference, bits),
            }
        }
        "floor" => Ball::new(the_floor(x)?, 0, Magnitude::ZERO, bits),
        "ceil" => {
            let floor = the_floor(&x.clone().negate())?;
            Ball::new(-floor, 0, Magnitude::ZERO, bits)
        }
        "factorial" => {
            let n = small(x)?;
            if n < 0 {
                return Err(Fail::Undefined);
            }
            if n > MAX_FACTORIAL {
                return Err(Fail::Unknown);
            }
            let mut product = Ball::whole(1);
            for k in 2..=n {
                budget.spend(1 + bits / 512)?;
                product = product.multiply(&Ball::whole(k), inner)?;
            }
            Ok(product)
        }
        _ => Err(Fail::Unknown),
    }
}

/// Returns `√(1 - x²)`: the cosine of an angle with sine x, or its sine if x is the cosine.
fn cofunction(x: &Ball, bits: usize) -> Computed {
    // (1-x)(1+x) is more accurate than 1 - x² near ±1.
    let one = Ball::whole(1);
    let product = one.subtract(x, bits)?.multiply(&one.add(x, bits)?, bits)?;
    product.root(2, bits)
}

fn angle(cosine: Ball, sine: Ball, bits: usize, constants: &mut Constants) -> Computed {
    Complex {
        re: cosine,
        im: sine,
    }
    .angle(bits, constants)
}

/// Returns the failure for an operand that is not known to be positive.
fn unless_clear(x: &Ball) -> Fail {
    match x.sign() {
        None => Fail::Unclear,
        Some(_) => Fail::Undefined,
    }
}

/// Returns a power of a real base. The exponent must be an integer or the base positive.
fn power(x: &Ball, exponent: &Ball, bits: usize, constants: &mut Constants) -> Computed {
    if let Some(whole) = exponent.as_whole() {
        let whole = i64::try_from(whole).map_err(|_| Fail::Unknown)?;
        if x.is_zero() && whole <= 0 {
            return Err(Fail::Undefined);
        }
        return x.power(whole, bits);
    }
    if x.sign() != Some(1) {
        return Err(unless_clear(x));
    }
    let base = Complex::from(x.clone());
    let power = base.principal_power(&exponent.clone().into(), bits, constants)?;
    Ok(power.re)
}

/// Returns the floor of a ball, if all its numbers have the same.
fn the_floor(x: &Ball) -> Result<IBig, Fail> {
    let (low, high) = x.floors().ok_or(Fail::Unknown)?;
    if low == high {
        Ok(low)
    } else {
        Err(Fail::Unclear)
    }
}

/// Returns an exact integer that fits into `i64`.
fn small(x: &Ball) -> Result<i64, Fail> {
    if !x.is_exact() {
        return Err(Fail::Undefined);
    }
    let whole = x.as_whole().ok_or(Fail::Undefined)?;
    i64::try_from(whole).map_err(|_| Fail::Unknown)
}

/// Returns `n(n-1)…(n-k+1) / k!`.
fn binomial(n: &Ball, k: &Ball, bits: usize, budget: &mut Budget) -> Computed {
    let k = small(k)?;
    if !(0..=MAX_FACTORIAL).contains(&k) {
        return Err(Fail::Unknown);
    }
    let inner = bits + 16;
    let mut product = Ball::whole(1);
    for i in 0..k {
        budget.spend(2 + bits / 256)?;
        let factor = n.subtract(&Ball::whole(i), inner)?;
        product = product
            .multiply(&factor, inner)?
            .divide(&Ball::whole(i + 1), inner)?;
    }
    Ok(product)
}
