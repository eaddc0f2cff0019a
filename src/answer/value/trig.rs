//! Sines and cosines: exact at special angles, otherwise in terms of single angles.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::functions::{call, leads_negative, rational};
use super::number;
use super::poly::{Atom, Monomial, Poly};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::numeric;

/// The maximum multiple of an angle that is expanded in terms of the single angle.
const MAX_MULTIPLE: i64 = 8;

/// Returns the cosine of `k·π/12`, `k = 0 … 6`, as a polynomial in √2, √3, √6. The sine is `special(6 - k)`.
pub(super) fn special(k: i64, budget: &mut Budget) -> Result<Fraction, EvalError> {
    let root =
        |n: i64, budget: &mut Budget| Fraction::whole(n).rational_power(&rational(1, 2), budget);
    let quarter = Fraction::rational(rational(1, 4));
    let half = Fraction::rational(rational(1, 2));
    match k {
        0 => Ok(Fraction::whole(1)),
        1 => {
            let sum = root(6, budget)?.add(&root(2, budget)?, budget)?;
            sum.multiply(&quarter, budget)
        }
        2 => root(3, budget)?.multiply(&half, budget),
        3 => root(2, budget)?.multiply(&half, budget),
        4 => Ok(half),
        5 => {
            let sum = root(6, budget)?.subtract(&root(2, budget)?, budget)?;
            sum.multiply(&quarter, budget)
        }
        _ => Ok(Fraction::whole(0)),
    }
}

/// Returns the rational `c` of an angle `cπ`.
pub(super) fn turns(value: &Fraction) -> Option<RBig> {
    if value.is_zero() {
        return Some(RBig::ZERO);
    }
    if !value.denominator_is_one() {
        return None;
    }
    let (monomial, coefficient) = value.numerator.as_term()?;
    match monomial.as_slice() {
        [(Atom::Symbol(name), one)] if name == "π" && one.is_one() => Some(coefficient.clone()),
        _ => None,
    }
}

/// Returns the cosine and sine: of a sum by the addition theorems, of a small multiple in terms of the single
/// angle, of a rational multiple of π reduced to the first quadrant.
pub(super) fn cos_sin(
    value: &Fraction,
    budget: &mut Budget,
) -> Result<(Fraction, Fraction), EvalError> {
    budget.spend(1)?;
    if !value.denominator_is_one() {
        return Ok(single(value));
    }
    let mut cosine = Fraction::whole(1);
    let mut sine = Fraction::whole(0);
    for (monomial, coefficient) in &value.numerator.0 {
        let (c, s) = cos_sin_of_term(monomial, coefficient, budget)?;
        let next_cosine = cosine
            .multiply(&c, budget)?
            .subtract(&sine.multiply(&s, budget)?, budget)?;
        sine = sine
            .multiply(&c, budget)?
            .add(&cosine.multiply(&s, budget)?, budget)?;
        cosine = next_cosine;
    }
    Ok((cosine, sine))
}

/// Returns atoms for an angle about which nothing is known, with the sign taken out.
pub(super) fn single(value: &Fraction) -> (Fraction, Fraction) {
    if leads_negative(value) {
        let value = value.negate();
        (
            call("cos", vec![value.clone()]),
            call("sin", vec![value]).negate(),
        )
    } else {
        (
            call("cos", vec![value.clone()]),
            call("sin", vec![value.clone()]),
        )
    }
}

pub(super) fn cos_sin_of_term(
    monomial: &Monomial,
    coefficient: &RBig,
    budget: &mut Budget,
) -> Result<(Fraction, Fraction), EvalError> {
    let term: Fraction = Poly::term(monomial.clone(), coefficient.clone()).into();
    if let Some(turns) = turns(&term) {
        return cos_sin_of_turns(&turns, budget);
    }
    let multiple = i64::try_from(coefficient.numerator()).unwrap_or(i64::MAX);
    let size = multiple.saturating_abs();
    if monomial.is_empty() || !(2..=MAX_MULTIPLE).contains(&size) {
        return Ok(single(&term));
    }
    // The angle of one part, then (c + is)^n.
    let part = RBig::from_parts(IBig::ONE, coefficient.denominator().clone());
    let part: Fraction = Poly::term(monomial.clone(), part).into();
    let (c, s) = single(&part);
    let (mut cosine, mut sine) = (c.clone(), s.clone());
    for _ in 1..size {
        let next = cosine
            .multiply(&c, budget)?
            .subtract(&sine.multiply(&s, budget)?, budget)?;
        sine = sine
            .multiply(&c, budget)?
            .add(&cosine.multiply(&s, budget)?, budget)?;
        cosine = next;
    }
    if multiple < 0 {
        sine = sine.negate();
    }
    Ok((cosine, sine))
}

pub(super) fn cos_sin_of_turns(
    turns: &RBig,
    budget: &mut Budget,
) -> Result<(Fraction, Fraction), EvalError> {
    budget.spend_bits(number::bits(turns))?;
    // Reduce to [0, 2), then to [0, 1/2] with signs.
    let two = number::whole(2);
    let mut angle = turns - RBig::from((turns / &two).floor()) * &two;
    let (mut cosine_sign, mut sine_sign) = (false, false);
    if angle >= RBig::ONE {
        // cos(π + a) = -cos a, sin(π + a) = -sin a.
        angle -= RBig::ONE;
        (cosine_sign, sine_sign) = (true, true);
    }
    let half = rational(1, 2);
    if angle > half {
        // cos(π - a) = -cos a, sin(π - a) = sin a.
        angle = RBig::ONE - angle;
        cosine_sign = !cosine_sign;
    }
    let twelfths = &angle * number::whole(12);
    let (cosine, sine) = match number::small(&twelfths) {
        Some(k) => (special(k, budget)?, special(6 - k, budget)?),
        None => {
            let pi = Fraction::symbol("π");
            // Above π/4, use the complementary angle.
            let complement = &half - &angle;
            let swap = complement < angle;
            let shown = if swap { complement } else { angle };
            let value = pi.multiply(&Fraction::rational(shown), budget)?;
            let pair = fifth(&value, budget)?
                .unwrap_or_else(|| (call("cos", vec![value.clone()]), call("sin", vec![value])));
            if swap { (pair.1, pair.0) } else { pair }
        }
    };
    let signed = |value: Fraction, negative: bool| {
        if negative { value.negate() } else { value }
    };
    Ok((signed(cosine, cosine_sign), signed(sine, sine_sign)))
}

/// Returns the cosine and sine of π/5 and π/10 in radicals.
pub(super) fn fifth(
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Option<(Fraction, Fraction)>, EvalError> {
    let Some(turns) = turns(value) else {
        return Ok(None);
    };
    let root5 = Fraction::whole(5).rational_power(&rational(1, 2), budget)?;
    let quarter = Fraction::rational(rational(1, 4));
    let nested = |sign: i64, budget: &mut Budget| -> Result<Fraction, EvalError> {
        // √(10 ± 2√5) / 4.
        let inner = root5.multiply(&Fraction::whole(2 * sign), budget)?;
        let inner = Fraction::whole(10).add(&inner, budget)?;
        inner
            .rational_power(&rational(1, 2), budget)?
            .multiply(&quarter, budget)
    };
    if turns == rational(1, 5) {
        let cosine = root5.add(&Fraction::whole(1), budget)?;
        let cosine = cosine.multiply(&quarter, budget)?;
        return Ok(Some((cosine, nested(-1, budget)?)));
    }
    if turns == rational(1, 10) {
        let sine = root5.subtract(&Fraction::whole(1), budget)?;
        let sine = sine.multiply(&quarter, budget)?;
        return Ok(Some((nested(1, budget)?, sine)));
    }
    Ok(None)
}

/// Returns the value of an inverse function, if it is an integer multiple of π/12.
pub(super) fn inverse(
    name: &str,
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let angle = call(name, vec![value.clone()]);
    let Some(k) = numeric::near_twelfth(&angle, budget)? else {
        return Ok(None);
    };
    let turns = RBig::from_parts(IBig::from(k), UBig::from(12u8));
    let (cosine, sine) = cos_sin_of_turns(&turns, budget)?;
    let found = match name {
        "arcsin" => sine.same(value, budget)?,
        "arccos" => cosine.same(value, budget)?,
        _ if cosine.is_zero() => false,
        _ => sine.same(&value.multiply(&cosine, budget)?, budget)?,
    };
    if !found {
        return Ok(None);
    }
    let pi = Fraction::symbol("π");
    Ok(Some(pi.multiply(&Fraction::rational(turns), budget)?))
}

/// Returns the cosine.
pub(crate) fn cosine(value: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
    Ok(cos_sin(value, budget)?.0)
}

/// Returns the sine.
pub(crate) fn sine(value: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
    Ok(cos_sin(value, budget)?.1)
}
