//! Exact rational numbers: literals, powers, roots and integer factorization, all bounded.

use dashu_base::{Abs, BitTest, Sign};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::answer::budget::{Budget, EvalError, MAX_BITS};
use crate::answer::latex::Literal;

/// Returns the length of numerator and denominator together, in bits.
pub(crate) fn bits(value: &RBig) -> usize {
    value.numerator().bit_len() + value.denominator().bit_len()
}

/// Returns a small integer as a rational.
pub(crate) fn whole(value: i64) -> RBig {
    RBig::from(IBig::from(value))
}

/// Returns the exact value of a literal.
pub(crate) fn literal(literal: &Literal, budget: &mut Budget) -> Result<RBig, EvalError> {
    let digits = literal.whole.len() + literal.fraction.len() + literal.repeat.len();
    // A decimal digit has at most 3.33 bits.
    budget.spend_bits(digits * 10 / 3)?;
    let parse = |text: &str| -> Result<UBig, EvalError> {
        if text.is_empty() {
            return Ok(UBig::ZERO);
        }
        UBig::from_str_radix(text, 10).map_err(|_| EvalError::Unsupported)
    };
    let ten_to = |power: usize| UBig::from(10u8).pow(power);
    let scale = ten_to(literal.fraction.len());
    let digits = parse(&format!("{}{}", literal.whole, literal.fraction))?;
    let mut value = RBig::from_parts(digits.into(), scale.clone());
    if !literal.repeat.is_empty() {
        let nines = ten_to(literal.repeat.len()) - UBig::ONE;
        let repeat = parse(&literal.repeat)?;
        value += RBig::from_parts(repeat.into(), scale * nines);
    }
    if literal.exponent != 0 {
        let power = literal.exponent.unsigned_abs() as usize;
        budget.spend_bits(power.saturating_mul(10) / 3)?;
        let factor = RBig::from(ten_to(power));
        value = if literal.exponent > 0 {
            value * factor
        } else {
            value / factor
        };
    }
    Ok(value)
}

/// Multiplies. Integers and ones, the most frequent factors, are not reduced to lowest terms again.
pub(crate) fn multiply(a: &RBig, b: &RBig) -> RBig {
    if a.is_one() {
        return b.clone();
    }
    if b.is_one() {
        return a.clone();
    }
    if a.is_int() && b.is_int() {
        return RBig::from(a.numerator() * b.numerator());
    }
    a * b
}

/// Returns a rational to an integer power.
pub(crate) fn power(base: &RBig, exponent: i64, budget: &mut Budget) -> Result<RBig, EvalError> {
    if base.is_zero() && exponent < 0 {
        return Err(EvalError::Unsupported);
    }
    let size = usize::try_from(exponent.unsigned_abs()).map_err(|_| EvalError::LimitExceeded)?;
    let is_unit = base.numerator().is_one() || base.numerator() == &IBig::NEG_ONE;
    if base.is_zero() || is_unit && base.denominator().is_one() {
        let parity = if size % 2 == 0 { size.min(2) } else { 1 };
        return Ok(RBig::from_parts(base.numerator().pow(parity), UBig::ONE));
    }
    let bits = bits(base).saturating_mul(size);
    budget.spend_bits(bits)?;
    let numerator = base.numerator().pow(size);
    let denominator = base.denominator().pow(size);
    Ok(if exponent >= 0 {
        RBig::from_parts(numerator, denominator)
    } else {
        RBig::from_parts_signed(denominator.into(), numerator)
    })
}

/// Returns a rational as a small integer, if it is one.
pub(crate) fn small(value: &RBig) -> Option<i64> {
    if !value.is_int() {
        return None;
    }
    i64::try_from(value.numerator()).ok()
}

/// The upper limit of primes for trial division.
const TRIAL: u32 = 3000;

/// The maximum length, in bits, of an integer that is tested for being a perfect power.
const MAX_ROOT_BITS: usize = 2048;

/// Factors a positive integer into powers of primes below a limit and a remainder, which is not divided
/// further. The remainder is written as a power of the smallest base found.
pub(crate) fn factors(value: &UBig, budget: &mut Budget) -> Result<Vec<(UBig, u32)>, EvalError> {
    let mut rest = value.clone();
    let mut found = Vec::new();
    if rest.is_zero() {
        return Ok(found);
    }
    let mut prime = 2u32;
    while prime < TRIAL {
        if rest.is_one() {
            break;
        }
        let divisor = UBig::from(prime);
        // A remainder below the square of the next divisor is prime.
        if rest.bit_len() <= 32 && &divisor * &divisor > rest {
            break;
        }
        budget.spend(1 + rest.bit_len() / 4096)?;
        let mut times = 0;
        while (&rest % &divisor).is_zero() {
            budget.spend(1 + rest.bit_len() / 1024)?;
            rest /= &divisor;
            times += 1;
        }
        if times > 0 {
            found.push((divisor, times));
        }
        prime += if prime == 2 { 1 } else { 2 };
    }
    if !rest.is_one() {
        let mut exponent = 1;
        let mut degrees = [2u8, 3, 5, 7].into_iter().peekable();
        while let Some(&degree) = degrees.peek() {
            let size = rest.bit_len();
            if size > MAX_ROOT_BITS || usize::from(degree) >= size {
                break;
            }
            budget.spend(1 + size / 64)?;
            let root = rest.nth_root(degree.into());
            if root.pow(degree.into()) == rest {
                rest = root;
                exponent *= u32::from(degree);
            } else {
                degrees.next();
            }
        }
        found.push((rest, exponent));
    }
    Ok(found)
}

/// Returns `n!`, if it is not too long.
pub(crate) fn factorial(n: i64, budget: &mut Budget) -> Result<UBig, EvalError> {
    let n = u64::try_from(n).map_err(|_| EvalError::Unsupported)?;
    let mut product = UBig::ONE;
    for k in 2..=n {
        budget.spend(1 + product.bit_len() / 4096)?;
        product *= UBig::from(k);
        if product.bit_len() > MAX_BITS {
            return Err(EvalError::LimitExceeded);
        }
    }
    Ok(product)
}

/// Returns the greatest common divisor of the absolute values.
pub(crate) fn gcd(a: &IBig, b: &IBig, budget: &mut Budget) -> Result<UBig, EvalError> {
    budget.spend_bits(a.bit_len().max(b.bit_len()))?;
    let bits = a.bit_len().max(b.bit_len());
    budget.spend(1 + bits / 128)?;
    if a.is_zero() && b.is_zero() {
        return Ok(UBig::ZERO);
    }
    Ok(dashu_base::Gcd::gcd(a, b))
}

/// Returns whether a rational is negative.
pub(crate) fn is_negative(value: &RBig) -> bool {
    value.numerator().sign() == Sign::Negative && !value.is_zero()
}

/// Returns the absolute value.
pub(crate) fn absolute(value: &RBig) -> RBig {
    value.clone().abs()
}
