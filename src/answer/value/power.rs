//! Powers and roots of quotients of polynomials.

use dashu_base::BitTest;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::number;
use super::poly::{Atom, Base, Monomial, Poly};
use crate::answer::budget::{Budget, EvalError};

/// The maximum integer power to which a sum of terms is expanded.
const MAX_EXPANDED: i64 = 24;

/// The maximum number of terms of a sum under a root.
const MAX_INSIDE: usize = 40;

impl Fraction {
    /// Returns a power.
    pub(crate) fn power(
        &self,
        exponent: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        budget.nested(|budget| match exponent.as_rational() {
            Some(exponent) => self.rational_power(&exponent, budget),
            None => self.symbolic_power(exponent, budget),
        })
    }

    fn reciprocal(&self, budget: &mut Budget) -> Result<Fraction, EvalError> {
        Fraction::whole(1).divide(self, budget)
    }

    /// Returns a power with a rational exponent. Even roots are positive, odd roots are real.
    pub(crate) fn rational_power(
        &self,
        exponent: &RBig,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        if exponent.is_zero() {
            // 0^0 is undefined.
            return if self.is_zero() {
                Err(EvalError::Unsupported)
            } else {
                Ok(Fraction::whole(1))
            };
        }
        if number::is_negative(exponent) {
            let positive = self.rational_power(&-exponent.clone(), budget)?;
            return positive.reciprocal(budget);
        }
        if let (Some(base), Some(n)) = (self.as_rational(), number::small(exponent)) {
            return Ok(Fraction::rational(number::power(&base, n, budget)?));
        }
        if !self.denominator_is_one() {
            let top = Fraction::from(self.numerator.clone()).rational_power(exponent, budget)?;
            let bottom =
                Fraction::from(self.denominator.clone()).rational_power(exponent, budget)?;
            return top.divide(&bottom, budget);
        }
        let Some((monomial, coefficient)) = self.numerator.as_term() else {
            if self.is_zero() {
                return Ok(Fraction::whole(0));
            }
            return self.sum_power(exponent, budget);
        };
        if !exponent.denominator().bit(0)
            && let Some(root) = root_of_signed(monomial, coefficient, exponent, budget)?
        {
            return Ok(root);
        }
        // A sign cannot be taken out of an even root: √(-x) is not i√x for negative x.
        let is_variable = monomial
            .iter()
            .any(|(atom, _)| !matches!(atom, Atom::Integer(_) | Atom::Imaginary));
        if is_variable && number::is_negative(coefficient) && !exponent.denominator().bit(0) {
            return self.sum_power(exponent, budget);
        }
        let whole = number::small(exponent);
        let mut result = rational_root(coefficient, exponent, budget)?;
        for (atom, power) in monomial {
            budget.spend(1)?;
            let total = power * exponent;
            let even_inside = !power.numerator().bit(0);
            let even_root = !exponent.denominator().bit(0);
            let factor = match atom {
                Atom::Imaginary => match whole {
                    Some(n) => Fraction::from(
                        Poly::atom(Atom::Imaginary)
                            .power(u32::try_from(n.rem_euclid(4)).unwrap_or(0), budget)?,
                    ),
                    None if number::is_negative(coefficient) => return Err(EvalError::Unsupported),
                    // iʳ = cos πr/2 + i sin πr/2, the principal value.
                    None => {
                        let turns = &total / number::whole(2);
                        let (cosine, sine) = super::trig::cos_sin_of_turns(&turns, budget)?;
                        let imaginary = Fraction::atom(Atom::Imaginary);
                        cosine.add(&sine.multiply(&imaginary, budget)?, budget)?
                    }
                },
                // √(x²) is |x|.
                Atom::Symbol(name) if name != "π" && even_inside && even_root => {
                    let absolute = Atom::Call("abs".into(), vec![Fraction::symbol(name)]);
                    monomial_power(&absolute, &total, budget)?
                }
                Atom::Call(..) if even_inside && even_root => {
                    let inner = Fraction::atom(atom.clone());
                    let absolute = super::functions::absolute(&inner, budget)?;
                    match absolute.numerator.as_term() {
                        Some((monomial, one))
                            if one.is_one() && monomial.len() == 1 && monomial[0].1.is_one() =>
                        {
                            monomial_power(&monomial[0].0, &total, budget)?
                        }
                        _ => return Err(EvalError::Unsupported),
                    }
                }
                _ => monomial_power(atom, &total, budget)?,
            };
            result = result.multiply(&factor, budget)?;
        }
        Ok(result)
    }

    /// Returns a power of a sum of several terms.
    fn sum_power(&self, exponent: &RBig, budget: &mut Budget) -> Result<Fraction, EvalError> {
        if let Some(n) = number::small(exponent) {
            if n > MAX_EXPANDED && self.numerator.0.len() > 1 {
                let atoms: usize = self.numerator.0.iter().map(|(term, _)| term.len()).sum();
                if atoms > 2 || n > 200 {
                    return Err(EvalError::LimitExceeded);
                }
            }
            let n = u32::try_from(n).map_err(|_| EvalError::LimitExceeded)?;
            return Ok(self.numerator.power(n, budget)?.into());
        }
        // A positive factor can be taken out of the root, a sign cannot.
        let content = self.numerator.content(budget)?;
        let primitive = self
            .numerator
            .scale(&(RBig::ONE / content.clone()), budget)?;
        let outside = rational_root(&content, exponent, budget)?;
        // √(a²) of a sum is its absolute value.
        if exponent == &RBig::from_parts(IBig::ONE, UBig::from(2u8))
            && let Some(root) = square_root(&primitive, budget)?
        {
            let absolute = super::functions::absolute(&root.into(), budget)?;
            return outside.multiply(&absolute, budget);
        }
        if primitive.0.len() > MAX_INSIDE {
            return Err(EvalError::LimitExceeded);
        }
        let floor = exponent.floor();
        let n = u32::try_from(&floor).map_err(|_| EvalError::LimitExceeded)?;
        let rest = exponent - RBig::from(floor);
        let expanded: Fraction = primitive.power(n, budget)?.into();
        let root: Fraction = Poly::term(vec![(Atom::Sum(primitive), rest)], RBig::ONE).into();
        outside.multiply(&expanded, budget)?.multiply(&root, budget)
    }

    /// Returns a power whose exponent is not a number, as a product over the terms of the exponent.
    fn symbolic_power(
        &self,
        exponent: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        if self.is_zero() {
            return Err(EvalError::Unsupported);
        }
        if !exponent.denominator_is_one() {
            // b^(x/ln b) = e^x.
            let logarithm = super::functions::logarithm(self, budget)?;
            let product = logarithm.multiply(exponent, budget)?;
            if product.denominator_is_one() {
                return super::functions::exponential(&product, budget);
            }
            let name = Atom::Call("^".into(), vec![self.clone(), exponent.clone()]);
            return Ok(Fraction::atom(name));
        }
        let mut result = Fraction::whole(1);
        for (monomial, coefficient) in &exponent.numerator.0 {
            budget.spend(1)?;
            let factor = if monomial.is_empty() {
                self.rational_power(coefficient, budget)?
            } else {
                self.power_of_monomial(monomial, coefficient, budget)?
            };
            result = result.multiply(&factor, budget)?;
        }
        Ok(result)
    }

    /// Returns `self^(coefficient · monomial)`.
    fn power_of_monomial(
        &self,
        monomial: &Monomial,
        coefficient: &RBig,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        if self.is_zero() {
            return Err(EvalError::Unsupported);
        }
        if !self.denominator_is_one() {
            let top = Fraction::from(self.numerator.clone());
            let bottom = Fraction::from(self.denominator.clone());
            let top = top.power_of_monomial(monomial, coefficient, budget)?;
            let bottom = bottom.power_of_monomial(monomial, &-coefficient.clone(), budget)?;
            return top.multiply(&bottom, budget);
        }
        let raise = |base: Base, times: &RBig| -> Fraction {
            let power = Atom::Power(Box::new(base), monomial.clone());
            Poly::term(vec![(power, coefficient * times)], RBig::ONE).into()
        };
        let Some((factors, value)) = self.numerator.as_term() else {
            let content = self.numerator.content(budget)?;
            let primitive = self
                .numerator
                .scale(&(RBig::ONE / content.clone()), budget)?;
            let outside = Fraction::rational(content);
            let outside = if outside.as_small() == Some(1) {
                outside
            } else {
                outside.power_of_monomial(monomial, coefficient, budget)?
            };
            return outside.multiply(&raise(Base::Atom(Atom::Sum(primitive)), &RBig::ONE), budget);
        };
        let mut result = Fraction::whole(1);
        if number::is_negative(value) {
            // (-1)^n is kept as it is.
            let minus = Atom::Call("minus_one".into(), Vec::new());
            result = result.multiply(&raise(Base::Atom(minus), &RBig::ONE), budget)?;
        }
        for (part, sign) in [
            (
                UBig::try_from(number::absolute(value).numerator().clone()),
                1,
            ),
            (Ok(value.denominator().clone()), -1),
        ] {
            let part = part.map_err(|_| EvalError::Unsupported)?;
            for (prime, times) in number::factors(&part, budget)? {
                let times = number::whole(i64::from(times) * sign);
                let factor = raise(Base::Atom(Atom::Integer(prime)), &times);
                result = result.multiply(&factor, budget)?;
            }
        }
        for (atom, times) in factors {
            let factor = match atom {
                // (b^m)^n, with b a number: the exponents multiply.
                Atom::Power(base, inner) => {
                    let exponent = Poly::term(inner.clone(), times * coefficient)
                        .multiply(&Poly::term(monomial.clone(), RBig::ONE), budget)?;
                    match &**base {
                        Base::Euler => super::functions::exponential(&exponent.into(), budget)?,
                        Base::Atom(atom) => {
                            let base = Fraction::atom(atom.clone());
                            base.symbolic_power(&exponent.into(), budget)?
                        }
                    }
                }
                Atom::Imaginary => return Err(EvalError::Unsupported),
                _ => raise(Base::Atom(atom.clone()), times),
            };
            result = result.multiply(&factor, budget)?;
        }
        Ok(result)
    }
}

/// Returns an even root of a product with negative constant factors such as `cos 2`: the root of their absolute
/// values, with the sign of the whole product. Returns `None` if there are no such factors.
fn root_of_signed(
    monomial: &Monomial,
    coefficient: &RBig,
    exponent: &RBig,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let mut rest = Monomial::new();
    let mut negatives = Vec::new();
    let mut sign = coefficient.clone();
    for (atom, power) in monomial {
        let value = Fraction::atom(atom.clone());
        let below = matches!(atom, Atom::Call(..))
            && power.is_int()
            && super::functions::sign(&value, budget)? == Some(-1);
        if below {
            if power.numerator().bit(0) {
                sign = -sign;
            }
            negatives.push((value.negate(), power * exponent));
        } else {
            rest.push((atom.clone(), power.clone()));
        }
    }
    if negatives.is_empty() {
        return Ok(None);
    }
    let mut result = Fraction::from(Poly::term(rest, sign)).rational_power(exponent, budget)?;
    for (value, power) in negatives {
        result = result.multiply(&value.sum_power(&power, budget)?, budget)?;
    }
    Ok(Some(result))
}

/// Returns the canonical form of `atom^exponent`.
fn monomial_power(
    atom: &Atom,
    exponent: &RBig,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    // Multiplying by 1 could leave an exponent out of range, so multiply two halves.
    let half = exponent / number::whole(2);
    let part = Poly::term(vec![(atom.clone(), half)], RBig::ONE);
    Ok(part.multiply(&part, budget)?.into())
}

/// Returns a power of a rational number, from the roots of its prime factors.
fn rational_root(
    value: &RBig,
    exponent: &RBig,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    if let Some(n) = number::small(exponent) {
        return Ok(Fraction::rational(number::power(value, n, budget)?));
    }
    let mut result = Fraction::whole(1);
    if number::is_negative(value) {
        let order = exponent.denominator();
        let odd_times = exponent.numerator().bit(0);
        if order.bit(0) {
            // The real root of odd order.
            if odd_times {
                result = Fraction::whole(-1);
            }
        } else if order == &UBig::from(2u8) {
            // (-1)^(k/2) = i^k.
            let power = (exponent.numerator() % IBig::from(4))
                .try_into()
                .unwrap_or(0i64);
            let power = u32::try_from(power.rem_euclid(4)).unwrap_or(0);
            result = Poly::atom(Atom::Imaginary).power(power, budget)?.into();
        } else {
            return Err(EvalError::Unsupported);
        }
    }
    let positive = number::absolute(value);
    let (numerator, denominator) = positive.into_parts();
    let numerator = UBig::try_from(numerator).map_err(|_| EvalError::Unsupported)?;
    for (part, sign) in [(numerator, 1i64), (denominator, -1)] {
        for (prime, times) in number::factors(&part, budget)? {
            let total = exponent * number::whole(i64::from(times) * sign);
            let floor = total.floor();
            let outside = i64::try_from(&floor).map_err(|_| EvalError::LimitExceeded)?;
            let rest = total - RBig::from(floor);
            let factor = number::power(&RBig::from(prime.clone()), outside, budget)?;
            let mut poly = Poly::constant(factor);
            if !rest.is_zero() {
                let root = Poly::term(vec![(Atom::Integer(prime), rest)], RBig::ONE);
                poly = poly.multiply(&root, budget)?;
            }
            result = result.multiply(&poly.into(), budget)?;
        }
    }
    Ok(result)
}

/// Returns the polynomial whose square this is, up to sign: by leading terms for a sum of variables, and by
/// denesting for `a + b√c`.
fn square_root(poly: &Poly, budget: &mut Budget) -> Result<Option<Poly>, EvalError> {
    if let Some(root) = denest(poly, budget)? {
        return Ok(Some(root));
    }
    // Long division for square roots: each next term is (leading remainder) / (2 · leading root).
    let Some((monomial, coefficient)) = poly.leading() else {
        return Ok(None);
    };
    let half = |monomial: &Monomial| -> Option<Monomial> {
        monomial
            .iter()
            .map(|(atom, exponent)| {
                let half = exponent / number::whole(2);
                (matches!(atom, Atom::Symbol(_)) && half.is_int()).then(|| (atom.clone(), half))
            })
            .collect()
    };
    let (Some(first), Some(value)) = (half(monomial), rational_square_root(coefficient)) else {
        return Ok(None);
    };
    let mut root = Poly::term(first.clone(), value.clone());
    for _ in 0..12 {
        let square = root.multiply(&root, budget)?;
        let rest = poly.add(&square.negate(), budget)?;
        let Some((monomial, coefficient)) = rest.leading() else {
            return Ok(Some(root));
        };
        let Some(next) = divide_symbols(monomial, &first) else {
            return Ok(None);
        };
        let next = Poly::term(next, coefficient / (number::whole(2) * &value));
        root = root.add(&next, budget)?;
    }
    Ok(None)
}

fn divide_symbols(left: &Monomial, right: &Monomial) -> Option<Monomial> {
    let mut quotient = left.clone();
    for (atom, exponent) in right {
        let index = quotient.iter().position(|(a, _)| a == atom)?;
        let rest = &quotient[index].1 - exponent;
        if number::is_negative(&rest) {
            return None;
        }
        if rest.is_zero() {
            quotient.remove(index);
        } else {
            quotient[index].1 = rest;
        }
    }
    Some(quotient)
}

/// Returns the rational square root of a positive rational, if it has one.
fn rational_square_root(value: &RBig) -> Option<RBig> {
    if number::is_negative(value) {
        return None;
    }
    let top = UBig::try_from(value.numerator().clone()).ok()?;
    let (a, b) = (top.nth_root(2), value.denominator().nth_root(2));
    let matches = &a * &a == top && &b * &b == *value.denominator();
    matches.then(|| RBig::from_parts(a.into(), b))
}

/// Returns `√(a + b√c) = √((a+r)/2) ± √((a-r)/2)` with `r² = a² - b²c`, if `r` is rational.
fn denest(poly: &Poly, budget: &mut Budget) -> Result<Option<Poly>, EvalError> {
    // The constant term is first.
    let [(one, a), (surd, b)] = poly.0.as_slice() else {
        return Ok(None);
    };
    if !one.is_empty() {
        return Ok(None);
    }
    let half = RBig::from_parts(IBig::ONE, UBig::from(2u8));
    let mut c = RBig::ONE;
    for (atom, exponent) in surd {
        match atom {
            Atom::Integer(prime) if exponent == &half => c *= RBig::from(prime.clone()),
            _ => return Ok(None),
        }
    }
    let square = a * a - b * b * &c;
    let Some(r) = rational_square_root(&square) else {
        return Ok(None);
    };
    if number::is_negative(a) {
        return Ok(None);
    }
    let first = (a + &r) * &half;
    let second = (a - &r) * &half;
    if number::is_negative(&first) || number::is_negative(&second) {
        return Ok(None);
    }
    let first = rational_root(&first, &half, budget)?;
    let second = rational_root(&second, &half, budget)?;
    let sum = if number::is_negative(b) {
        first.subtract(&second, budget)?
    } else {
        first.add(&second, budget)?
    };
    Ok(sum.denominator_is_one().then_some(sum.numerator))
}
