//! Functions of values in canonical form. They are exact at arguments with exact values. Otherwise, identities
//! reduce them to few atoms: logarithms of primes, sines and cosines of single angles, exponentials of single
//! terms.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::number;
use super::poly::{Atom, Base, Monomial, Poly};
use super::trig::{cos_sin, cosine, inverse, sine};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::numeric;

/// The maximum number of terms in the arguments of a function.
const MAX_ARGUMENT: usize = 80;

/// The maximum length of their coefficients, in bits. Atoms are compared often, and comparing two fractions
/// requires products.
const MAX_ARGUMENT_BITS: usize = 4096;

pub(super) fn rational(numerator: i64, denominator: u32) -> RBig {
    RBig::from_parts(IBig::from(numerator), UBig::from(denominator))
}

pub(super) fn call(name: &str, arguments: Vec<Fraction>) -> Fraction {
    Fraction::atom(Atom::Call(name.into(), arguments))
}

/// Returns the sign of a real constant, if it is known.
pub(crate) fn sign(value: &Fraction, budget: &mut Budget) -> Result<Option<i8>, EvalError> {
    if value.is_zero() {
        return Ok(Some(0));
    }
    if let Some(value) = value.as_rational() {
        return Ok(Some(if number::is_negative(&value) { -1 } else { 1 }));
    }
    numeric::sign(value, budget)
}

/// Returns whether the leading term has a negative coefficient. This chooses between `u` and `-u` as
/// representative.
pub(super) fn leads_negative(value: &Fraction) -> bool {
    value
        .numerator
        .leading()
        .is_some_and(|(_, coefficient)| number::is_negative(coefficient))
}

/// Returns `|value|`.
pub(crate) fn absolute(value: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
    budget.spend(1)?;
    match sign(value, budget)? {
        Some(-1) => return Ok(value.negate()),
        Some(_) => return Ok(value.clone()),
        None => {}
    }
    // |a + bi| with rational parts.
    if let Some(modulus) = modulus(value, budget)? {
        return Ok(modulus);
    }
    let value = if leads_negative(value) {
        value.negate()
    } else {
        value.clone()
    };
    if let Some((monomial, coefficient)) = value.numerator.as_term()
        && value.denominator_is_one()
    {
        // |c·x·y^2| = c·|x|·|y|^2.
        let mut result = Fraction::rational(number::absolute(coefficient));
        for (atom, exponent) in monomial {
            let (base, times) = match atom {
                Atom::Symbol(name) if name != "π" => {
                    (call("abs", vec![Fraction::atom(atom.clone())]), exponent)
                }
                Atom::Call(name, _) if name != "abs" && name != "floor" => {
                    (call("abs", vec![Fraction::atom(atom.clone())]), exponent)
                }
                Atom::Imaginary => (Fraction::whole(1), exponent),
                _ => (Fraction::atom(atom.clone()), exponent),
            };
            result = result.multiply(&base.rational_power(times, budget)?, budget)?;
        }
        return Ok(result);
    }
    if value.denominator_is_one() {
        let content = value.numerator.content(budget)?;
        if !content.is_one() && !content.is_zero() {
            let inner = value
                .numerator
                .scale(&(RBig::ONE / content.clone()), budget)?;
            return Fraction::rational(content).multiply(&call("abs", vec![inner.into()]), budget);
        }
        return Ok(call("abs", vec![value]));
    }
    let top = absolute(&value.numerator.clone().into(), budget)?;
    let bottom = absolute(&value.denominator.clone().into(), budget)?;
    top.divide(&bottom, budget)
}

/// Returns `√(a² + b²)` for a constant `a + bi` with real parts.
fn modulus(value: &Fraction, budget: &mut Budget) -> Result<Option<Fraction>, EvalError> {
    if !value.is_constant() || !value.denominator_is_one() {
        return Ok(None);
    }
    let mut real = Poly::default();
    let mut imaginary = Poly::default();
    for (monomial, coefficient) in &value.numerator.0 {
        let mut rest: Monomial = monomial.clone();
        let before = rest.len();
        rest.retain(|(atom, _)| !matches!(atom, Atom::Imaginary));
        let target = if rest.len() < before {
            &mut imaginary
        } else {
            &mut real
        };
        *target = target.add(&Poly::term(rest, coefficient.clone()), budget)?;
    }
    if imaginary.is_zero() {
        return Ok(None);
    }
    let square = real
        .multiply(&real, budget)?
        .add(&imaginary.multiply(&imaginary, budget)?, budget)?;
    let root = Fraction::from(square).rational_power(&rational(1, 2), budget)?;
    Ok(Some(root))
}

/// Returns `e^value`.
pub(crate) fn exponential(value: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
    budget.spend(1)?;
    if !value.denominator_is_one() {
        return Ok(call("exp", vec![value.clone()]));
    }
    let mut result = Fraction::whole(1);
    for (monomial, coefficient) in &value.numerator.0 {
        let factor = exponential_of_term(monomial, coefficient, budget)?;
        result = result.multiply(&factor, budget)?;
    }
    Ok(result)
}

fn exponential_of_term(
    monomial: &Monomial,
    coefficient: &RBig,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    // e^(c·ln a) = a^c.
    if let [(Atom::Call(name, arguments), one)] = monomial.as_slice()
        && name == "ln"
        && one.is_one()
        && let [argument] = arguments.as_slice()
    {
        return argument.rational_power(coefficient, budget);
    }
    // e^(iπc) = cos πc + i sin πc.
    if let Some(rest) = without(monomial, &Atom::Imaginary)
        && rest.len() == 1
        && rest[0].0 == Atom::Symbol("π".into())
        && rest[0].1.is_one()
    {
        let angle: Fraction = Poly::term(rest, coefficient.clone()).into();
        let cosine = cosine(&angle, budget)?;
        let sine = sine(&angle, budget)?;
        let imaginary = Fraction::atom(Atom::Imaginary);
        return cosine.add(&sine.multiply(&imaginary, budget)?, budget);
    }
    let atom = Atom::Power(Box::new(Base::Euler), monomial.clone());
    Ok(Poly::term(vec![(atom, coefficient.clone())], RBig::ONE).into())
}

/// Returns a monomial without an atom that occurs once in it.
fn without(monomial: &Monomial, atom: &Atom) -> Option<Monomial> {
    let index = monomial
        .iter()
        .position(|(a, exponent)| a == atom && exponent.is_one())?;
    let mut rest = monomial.clone();
    rest.remove(index);
    Some(rest)
}

/// Returns the natural logarithm: the sum over the prime factors of a number, or over the factors of a product.
pub(crate) fn logarithm(value: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
    budget.spend(1)?;
    if value.is_zero() {
        return Err(EvalError::Unsupported);
    }
    if !value.denominator_is_one() {
        let top = logarithm(&value.numerator.clone().into(), budget)?;
        let bottom = logarithm(&value.denominator.clone().into(), budget)?;
        return top.subtract(&bottom, budget);
    }
    let Some((monomial, coefficient)) = value.numerator.as_term() else {
        let content = value.numerator.content(budget)?;
        if content.is_one() {
            return Ok(call("ln", vec![value.clone()]));
        }
        let inner = value
            .numerator
            .scale(&(RBig::ONE / content.clone()), budget)?;
        let outside = logarithm(&Fraction::rational(content), budget)?;
        return outside.add(&call("ln", vec![inner.into()]), budget);
    };
    if number::is_negative(coefficient) {
        if monomial.is_empty() {
            return Err(EvalError::Unsupported);
        }
        return Ok(call("ln", vec![value.clone()]));
    }
    let mut sum = Fraction::whole(0);
    let (numerator, denominator) = coefficient.clone().into_parts();
    let numerator = UBig::try_from(numerator).map_err(|_| EvalError::Unsupported)?;
    for (part, sign) in [(numerator, 1i64), (denominator, -1)] {
        for (prime, times) in number::factors(&part, budget)? {
            let prime = Fraction::rational(RBig::from(prime));
            let term = call("ln", vec![prime]);
            let times = Fraction::whole(i64::from(times) * sign);
            sum = sum.add(&term.multiply(&times, budget)?, budget)?;
        }
    }
    for (atom, exponent) in monomial {
        let term: Fraction = match atom {
            Atom::Power(base, power) => {
                let power: Fraction = Poly::term(power.clone(), RBig::ONE).into();
                match &**base {
                    Base::Euler => power,
                    Base::Atom(base) => {
                        let inner = Fraction::atom(base.clone());
                        logarithm(&inner, budget)?.multiply(&power, budget)?
                    }
                }
            }
            Atom::Integer(base) => call("ln", vec![Fraction::rational(RBig::from(base.clone()))]),
            Atom::Sum(poly) => call("ln", vec![poly.clone().into()]),
            Atom::Imaginary => return Err(EvalError::Unsupported),
            _ => call("ln", vec![Fraction::atom(atom.clone())]),
        };
        let times = Fraction::rational(exponent.clone());
        sum = sum.add(&term.multiply(&times, budget)?, budget)?;
    }
    Ok(sum)
}

/// Returns an inverse hyperbolic function as a logarithm.
fn area(name: &str, x: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
    let one = Fraction::whole(1);
    if name == "arctanh" {
        let ratio = one
            .add(x, budget)?
            .divide(&one.subtract(x, budget)?, budget)?;
        let half = Fraction::rational(rational(1, 2));
        return logarithm(&ratio, budget)?.multiply(&half, budget);
    }
    if name == "arcsinh" && leads_negative(x) {
        return Ok(area(name, &x.negate(), budget)?.negate());
    }
    let square = x.multiply(x, budget)?;
    let inside = if name == "arcsinh" {
        square.add(&one, budget)?
    } else {
        square.subtract(&one, budget)?
    };
    let root = inside.rational_power(&rational(1, 2), budget)?;
    logarithm(&x.add(&root, budget)?, budget)
}

/// Returns the greatest common divisor or least common multiple of rational numbers, as integer multiples of
/// their common unit.
fn common(greatest: bool, numbers: &[RBig], budget: &mut Budget) -> Result<Fraction, EvalError> {
    let mut result = number::absolute(numbers.first().ok_or(EvalError::Unsupported)?);
    for next in &numbers[1..] {
        budget.spend_bits(number::bits(&result) + number::bits(next))?;
        let scale = IBig::from(result.denominator() * next.denominator());
        let a = result.numerator() * IBig::from(next.denominator().clone());
        let b = next.numerator() * IBig::from(result.denominator().clone());
        let divisor = number::gcd(&a, &b, budget)?;
        let unit = RBig::from(divisor.clone()) / RBig::from(scale);
        result = if greatest || divisor.is_zero() {
            unit
        } else {
            number::absolute(&(result * next / unit))
        };
    }
    Ok(Fraction::rational(result))
}

/// Returns a named function of its arguments.
pub(crate) fn apply(
    name: &str,
    arguments: Vec<Fraction>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let exact = matches!(
        name,
        "ln" | "log_base"
            | "factorial"
            | "floor"
            | "ceil"
            | "abs"
            | "gcd"
            | "lcm"
            | "max"
            | "min"
            | "mod"
            | "binom"
    );
    let longest = arguments
        .iter()
        .flat_map(|x| x.numerator.0.iter().chain(&x.denominator.0))
        .map(|(_, coefficient)| number::bits(coefficient))
        .max();
    if !exact && longest.is_some_and(|bits| bits > MAX_ARGUMENT_BITS) {
        return Err(EvalError::LimitExceeded);
    }
    budget.spend(1)?;
    let one = Fraction::whole(1);
    if let [x] = arguments.as_slice() {
        match name {
            "sin" => return sine(x, budget),
            "cos" => return cosine(x, budget),
            "tan" => {
                let (c, s) = cos_sin(x, budget)?;
                return s.divide(&c, budget);
            }
            "cot" => {
                let (c, s) = cos_sin(x, budget)?;
                return c.divide(&s, budget);
            }
            "sec" => return one.divide(&cosine(x, budget)?, budget),
            "csc" => return one.divide(&sine(x, budget)?, budget),
            "sinh" | "cosh" | "tanh" => {
                let plus = exponential(x, budget)?;
                let minus = exponential(&x.negate(), budget)?;
                let half = Fraction::rational(rational(1, 2));
                let sinh = plus.subtract(&minus, budget)?.multiply(&half, budget)?;
                let cosh = plus.add(&minus, budget)?.multiply(&half, budget)?;
                return match name {
                    "sinh" => Ok(sinh),
                    "cosh" => Ok(cosh),
                    _ => sinh.divide(&cosh, budget),
                };
            }
            "exp" => return exponential(x, budget),
            "ln" => return logarithm(x, budget),
            "log" | "lg" => {
                let ten = logarithm(&Fraction::whole(10), budget)?;
                return logarithm(x, budget)?.divide(&ten, budget);
            }
            "abs" => return absolute(x, budget),
            "cbrt" => return x.rational_power(&rational(1, 3), budget),
            "arcsin" | "arccos" | "arctan" => {
                if x.is_constant()
                    && let Some(angle) = inverse(name, x, budget)?
                {
                    return Ok(angle);
                }
                if name != "arccos" && leads_negative(x) {
                    return Ok(call(name, vec![x.negate()]).negate());
                }
                return Ok(call(name, arguments));
            }
            "arcsinh" | "arccosh" | "arctanh" => return area(name, x, budget),
            "arcsec" | "arccsc" => {
                let inverse = one.divide(x, budget)?;
                let name = if name == "arcsec" { "arccos" } else { "arcsin" };
                return apply(name, vec![inverse], budget);
            }
            // For positive numbers only; for others there are several conventions.
            "arccot" if sign(x, budget)? == Some(1) => {
                return apply("arctan", vec![one.divide(x, budget)?], budget);
            }
            "floor" | "ceil" => {
                if let Some(value) = x.as_rational() {
                    let whole = if name == "floor" {
                        value.floor()
                    } else {
                        value.ceil()
                    };
                    return Ok(Fraction::rational(RBig::from(whole)));
                }
                // The ceiling is the negated floor of the negated argument.
                let down = if name == "floor" {
                    x.clone()
                } else {
                    x.negate()
                };
                if let Some(whole) = numeric::floor(&down, budget)? {
                    let whole = Fraction::rational(RBig::from(whole));
                    return Ok(if name == "floor" {
                        whole
                    } else {
                        whole.negate()
                    });
                }
                return Ok(call(name, arguments));
            }
            "factorial" => {
                return match x.as_small() {
                    Some(n) if n >= 0 => {
                        let value = number::factorial(n, budget)?;
                        Ok(Fraction::rational(RBig::from(value)))
                    }
                    _ => Ok(call(name, arguments)),
                };
            }
            // n(n-2)(n-4)….
            "double factorial" => {
                let Some(n) = x.as_small().filter(|n| (-1..=2000).contains(n)) else {
                    return Ok(call(name, arguments));
                };
                let mut value = UBig::ONE;
                let mut factor = u64::try_from(n).unwrap_or(0);
                while factor > 1 {
                    budget.spend(1 + dashu_base::BitTest::bit_len(&value) / 512)?;
                    value *= factor;
                    factor -= 2;
                }
                return Ok(Fraction::rational(RBig::from(value)));
            }
            "max" | "min" => return Ok(x.clone()),
            _ => {}
        }
    }
    if let [a, b] = arguments.as_slice() {
        match name {
            "log_base" => {
                let base = logarithm(a, budget)?;
                return logarithm(b, budget)?.divide(&base, budget);
            }
            "binom" => {
                if let (Some(n), Some(k)) = (a.as_small(), b.as_small())
                    && (0..=4000).contains(&n)
                    && (0..=n).contains(&k)
                {
                    let mut value = UBig::ONE;
                    for i in 0..k.min(n - k) {
                        budget.spend(1 + dashu_base::BitTest::bit_len(&value) / 512)?;
                        let n = u64::try_from(n - i).map_err(|_| EvalError::Unsupported)?;
                        let i = u64::try_from(i + 1).map_err(|_| EvalError::Unsupported)?;
                        value = value * UBig::from(n) / UBig::from(i);
                    }
                    return Ok(Fraction::rational(RBig::from(value)));
                }
            }
            // a × b = -(b × a).
            "cross" => {
                return Ok(match a.cmp(b) {
                    std::cmp::Ordering::Less => call(name, arguments),
                    std::cmp::Ordering::Equal => Fraction::whole(0),
                    std::cmp::Ordering::Greater => call(name, vec![b.clone(), a.clone()]).negate(),
                });
            }
            "mod" => {
                if let (Some(a), Some(m)) = (a.as_rational(), b.as_rational()) {
                    if m.is_zero() {
                        return Err(EvalError::Unsupported);
                    }
                    budget.spend_bits(number::bits(&a) + number::bits(&m))?;
                    let rest = &a - RBig::from((&a / &m).floor()) * &m;
                    return Ok(Fraction::rational(rest));
                }
            }
            _ => {}
        }
    }
    match name {
        "gcd" | "lcm" => {
            let numbers: Option<Vec<RBig>> = arguments.iter().map(Fraction::as_rational).collect();
            if let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) {
                return common(name == "gcd", &numbers, budget);
            }
        }
        "max" | "min" if arguments.iter().all(Fraction::is_constant) => {
            let mut best = arguments.first().ok_or(EvalError::Unsupported)?.clone();
            for next in &arguments[1..] {
                let difference = next.subtract(&best, budget)?;
                let sign = sign(&difference, budget)?.ok_or(EvalError::Unsupported)?;
                if sign > 0 && name == "max" || sign < 0 && name == "min" {
                    best = next.clone();
                }
            }
            return Ok(best);
        }
        _ => {}
    }
    let mut arguments = arguments;
    if matches!(name, "gcd" | "lcm" | "max" | "min") {
        arguments.sort();
        arguments.dedup();
        // Equal arguments: the result is that value.
        if let [only] = arguments.as_slice() {
            return Ok(only.clone());
        }
    }
    let size: usize = arguments
        .iter()
        .map(|x| x.numerator.0.len() + x.denominator.0.len())
        .sum();
    if size > MAX_ARGUMENT {
        return Err(EvalError::LimitExceeded);
    }
    Ok(call(name, arguments))
}
