//! Exponential, logarithm, sine, cosine and arctangent of balls, and the constants for argument reduction.
//!
//! Each function is evaluated at the midpoint in fixed point (integers in units of `2^-n`), by a series after
//! argument reduction. The comments count the units of error. The radius of the argument enters through a bound
//! on the derivative.

use dashu_base::{Abs, BitTest, Sign, SquareRoot};
use dashu_int::{IBig, UBig};

use super::Fail;
use super::ball::Ball;
use super::digits;
use super::magnitude::Magnitude;

/// The maximum number of integer bits, or of leading zeros after the point, for which the precision is
/// increased.
const MAX_TOP: i64 = 2048;

/// π and ln 2, cached where more places are needed than the table has.
#[derive(Debug, Default)]
pub(super) struct Constants {
    pi: Option<(usize, IBig)>,
    ln2: Option<(usize, IBig)>,
}

impl Constants {
    /// Returns π in units of `2^-places`, with an error of at most two units.
    fn pi_units(&mut self, places: usize) -> IBig {
        match written(&digits::PI, places) {
            Some(value) => value,
            None => at_least(&mut self.pi, places, pi_series),
        }
    }

    /// Returns ln 2 in units of `2^-places`, with an error of at most two units.
    fn ln2_units(&mut self, places: usize) -> IBig {
        match written(&digits::LN2, places) {
            Some(value) => value,
            None => at_least(&mut self.ln2, places, ln2_series),
        }
    }

    /// Returns π.
    pub(super) fn pi(&mut self, bits: usize) -> Result<Ball, Fail> {
        let places = bits + 4;
        let units = self.pi_units(places);
        Fixed::new(units, places, 2).ball(Magnitude::ZERO, bits)
    }
}

/// Returns a constant from the table, if the table has enough places.
fn written(words: &[u64], places: usize) -> Option<IBig> {
    let beyond = digits::PLACES.checked_sub(places)?;
    let needed = words.get(beyond / 64..)?;
    let bytes: Vec<u8> = needed.iter().flat_map(|word| word.to_le_bytes()).collect();
    Some(IBig::from(UBig::from_le_bytes(&bytes) >> (beyond % 64)))
}

/// Returns π in units of `2^-places`, by 16 arctan(1/5) - 4 arctan(1/239).
fn pi_series(places: usize) -> IBig {
    reciprocal_series(5, places, true) * 16u8 - reciprocal_series(239, places, true) * 4u8
}

/// Returns ln 2 in units of `2^-places`, by 18 artanh(1/26) - 2 artanh(1/4801) + 8 artanh(1/8749).
fn ln2_series(places: usize) -> IBig {
    reciprocal_series(26, places, false) * 18u8 - reciprocal_series(4801, places, false) * 2u8
        + reciprocal_series(8749, places, false) * 8u8
}

/// Returns a constant from the cache, or computes it with guard bits.
fn at_least(
    kept: &mut Option<(usize, IBig)>,
    places: usize,
    series: impl Fn(usize) -> IBig,
) -> IBig {
    // The error of the series is less than 2^20 units.
    const SPARE: usize = 24;
    if let Some((known, value)) = kept
        && *known >= places
    {
        return &*value >> (*known - places);
    }
    let value = series(places + SPARE) >> SPARE;
    *kept = Some((places, value.clone()));
    value
}

/// Returns `arctan(1/q)`, or `artanh(1/q)` if the signs do not alternate, in units of `2^-places`. It has fewer
/// than `places` terms, each with an error of less than three units.
fn reciprocal_series(q: u32, places: usize, alternates: bool) -> IBig {
    let square = u64::from(q) * u64::from(q);
    let mut power = (IBig::ONE << places) / q;
    let mut sum = power.clone();
    let mut n = 1u64;
    loop {
        power /= square;
        if power.is_zero() {
            return sum;
        }
        n += 2;
        let term = &power / n;
        if alternates && n % 4 == 3 {
            sum -= term;
        } else {
            sum += term;
        }
    }
}

/// A number in units of `2^-places` and its error bound.
struct Fixed {
    units: IBig,
    places: usize,
    error: Magnitude,
}

impl Fixed {
    /// Creates a number with an error of at most `error` units.
    fn new(units: IBig, places: usize, error: u64) -> Fixed {
        Fixed {
            units,
            places,
            error: Magnitude::above(error, -(places as i64)),
        }
    }

    fn negate(mut self) -> Fixed {
        self.units = -self.units;
        self
    }

    /// Converts to a ball, adding `more` to the radius.
    fn ball(self, more: Magnitude, bits: usize) -> Result<Ball, Fail> {
        let exponent = -(self.places as i64);
        Ball::new(self.units, exponent, self.error.add(more), bits)
    }
}

/// Returns the midpoint in units of `2^-places`, rounded down. The error is less than one unit.
fn to_fixed(value: &Ball, places: usize) -> Result<IBig, Fail> {
    let (mid, exponent) = value.parts();
    let shift = exponent + places as i64;
    match usize::try_from(shift) {
        Ok(shift) => Ok(mid << shift),
        Err(_) => {
            let shift = usize::try_from(shift.unsigned_abs()).map_err(|_| Fail::Unknown)?;
            Ok(mid >> shift)
        }
    }
}

/// Returns how often an argument is halved before a series. Balances the cost of both at this precision.
fn halvings(bits: usize) -> usize {
    // Approximately proportional to the square root of the precision.
    1 + bits.isqrt() / 3
}

/// Returns the exponential.
pub(super) fn exponential(x: &Ball, bits: usize, constants: &mut Constants) -> Result<Ball, Fail> {
    if x.is_zero() {
        return Ok(Ball::whole(1));
    }
    if !x.parts().0.is_zero() && x.top() > 38 {
        return Err(Fail::Unknown);
    }
    // e^(x+d) - e^x = e^x (e^d - 1), and e^d - 1 ≤ 2d for d up to 1.
    if x.radius().top() > 0 {
        return Err(Fail::Unclear);
    }
    if x.parts().0.is_zero() {
        return Ok(Ball::whole(1).inflate(x.radius().multiply(Magnitude::power_of_two(1))));
    }
    let top = x.top();
    if top < -(bits as i64) {
        // 1, with an error of at most 2|x|.
        let error = x.upper().multiply(Magnitude::power_of_two(1));
        return Ok(Ball::whole(1).inflate(error));
    }
    let (mantissa, times) = exponential_parts(x, bits, constants)?;
    let size = Magnitude::power_of_two(times + 1);
    let spread = size.multiply(x.radius().multiply(Magnitude::power_of_two(1)));
    let ball = mantissa.ball(Magnitude::ZERO, bits)?;
    Ok(ball.shift(times, bits)?.inflate(spread))
}

/// Returns the exponential of a nonzero midpoint: a number between 1 and 2, and the exponent of the power of
/// two it is multiplied by.
fn exponential_parts(
    x: &Ball,
    bits: usize,
    constants: &mut Constants,
) -> Result<(Fixed, i64), Fail> {
    let halved = halvings(bits);
    let whole = x.top().max(0) as usize;
    let places = bits + 2 * halved + 2 * whole + 32;
    let units = to_fixed(x, places)?;
    let ln2 = constants.ln2_units(places);
    // x = times·ln 2 + rest; |times| < 2^(whole+1) contributes up to twice as many units of error.
    let times = floor_divide(&units, &ln2);
    let rest = units - &times * ln2;
    let times = i64::try_from(&times).map_err(|_| Fail::Unknown)?;
    let reduced = rest >> halved;
    let mut sum = (IBig::ONE << places) + &reduced;
    let mut term = reduced.clone();
    let mut n = 1u64;
    loop {
        n += 1;
        term = ((term * &reduced) >> places) / n;
        if term.is_zero() {
            break;
        }
        sum += &term;
    }
    for _ in 0..halved {
        sum = (&sum * &sum) >> places;
    }
    // The error in units: two per term and two at the end; each squaring multiplies it by up to four (values
    // stay below 2) and adds one. The remainder adds its own error, with a derivative of at most 2.
    let series = (2 * n + 8) << (2 * halved);
    let reduction = 1u64 << (whole + 4);
    Ok((Fixed::new(sum, places, series + reduction), times))
}

/// Returns `a / b` rounded down. `b` is positive.
fn floor_divide(a: &IBig, b: &IBig) -> IBig {
    let quotient = a / b;
    // Integer division rounds towards zero.
    if a < &(&quotient * b) {
        quotient - IBig::ONE
    } else {
        quotient
    }
}

/// Returns the cosine and sine.
pub(super) fn cos_sin(
    x: &Ball,
    bits: usize,
    constants: &mut Constants,
) -> Result<(Ball, Ball), Fail> {
    if x.is_zero() {
        return Ok((Ball::whole(1), Ball::zero()));
    }
    let slope = x.radius();
    if slope.top() > 1 {
        return Err(Fail::Unclear);
    }
    if x.parts().0.is_zero() {
        return Ok((Ball::whole(1).inflate(slope), Ball::around_zero(slope)));
    }
    let top = x.top();
    if top > MAX_TOP {
        return Err(Fail::Unclear);
    }
    if top < -(bits as i64) {
        // |sin x - x| ≤ |x|³, |cos x - 1| ≤ x².
        let square = x.upper().multiply(x.upper());
        let cube = square.multiply(x.upper());
        return Ok((Ball::whole(1).inflate(square), x.clone().inflate(cube)));
    }
    let (cosine, sine) = cos_sin_parts(x, bits, constants)?;
    Ok((cosine.ball(slope, bits)?, sine.ball(slope, bits)?))
}

/// Returns the cosine and sine of a nonzero midpoint.
fn cos_sin_parts(x: &Ball, bits: usize, constants: &mut Constants) -> Result<(Fixed, Fixed), Fail> {
    let top = x.top();
    let halved = halvings(bits);
    let whole = top.max(0) as usize;
    let small = (-top).max(0) as usize;
    let places = bits + 2 * halved + whole + small + 32;
    let units = to_fixed(x, places)?;
    let quarter: IBig = constants.pi_units(places) >> 1;
    // x = times·π/2 + rest, with |rest| at most slightly above π/4; |times| < 2^(whole+1).
    let times = floor_divide(&(&units + (&quarter >> 1)), &quarter);
    let rest = units - &times * quarter;
    let reduced = rest >> halved;
    let square = (&reduced * &reduced) >> places;
    let one = IBig::ONE << places;
    let (mut cosine, mut sine) = (one.clone(), reduced.clone());
    let (mut even, mut odd) = (one.clone(), reduced);
    let mut n = 0u64;
    loop {
        n += 2;
        even = -((even * &square) >> places) / (n * (n - 1));
        odd = -((odd * &square) >> places) / (n * (n + 1));
        if even.is_zero() && odd.is_zero() {
            break;
        }
        cosine += &even;
        sine += &odd;
    }
    for _ in 0..halved {
        // sin 2a = 2 sin a cos a, cos 2a = 1 - 2 sin² a.
        let doubled: IBig = (&sine * &cosine) >> (places - 1);
        cosine = &one - ((&sine * &sine) >> (places - 1));
        sine = doubled;
    }
    // The error in units: three per term; each doubling multiplies it by up to four and adds two. The remainder
    // adds two per multiple of π/2 and a few more.
    let series = (3 * n + 8) << (2 * halved);
    let reduction = Magnitude::power_of_two(whole as i64 + 3 - places as i64);
    let part = |units: IBig| {
        let mut part = Fixed::new(units, places, series);
        part.error = part.error.add(reduction);
        part
    };
    let (cosine, sine) = (part(cosine), part(sine));
    let quadrant = u8::try_from(times & IBig::from(3)).unwrap_or(0);
    Ok(match quadrant {
        0 => (cosine, sine),
        1 => (sine.negate(), cosine),
        2 => (cosine.negate(), sine.negate()),
        _ => (sine, cosine.negate()),
    })
}

/// Returns the natural logarithm of a positive number.
pub(super) fn logarithm(x: &Ball, bits: usize, constants: &mut Constants) -> Result<Ball, Fail> {
    match x.sign() {
        Some(1) => {}
        Some(_) => return Err(Fail::Undefined),
        None => return Err(Fail::Unclear),
    }
    if x.is_one() {
        return Ok(Ball::zero());
    }
    // ln y - ln x ≤ |y - x| / min(x, y).
    let spread = x.radius().divide(x.lower()).ok_or(Fail::Unclear)?;
    logarithm_of_midpoint(x, bits, constants)?.ball(spread, bits)
}

/// Returns the natural logarithm of a positive midpoint.
fn logarithm_of_midpoint(x: &Ball, bits: usize, constants: &mut Constants) -> Result<Fixed, Fail> {
    let halved = halvings(bits);
    let top = x.top();
    let whole = 64 - top.unsigned_abs().leading_zeros() as usize;
    let places = bits + halved + whole + 32;
    // x = m·2^times, with m between 1/2 and 1, doubled if below 3/4.
    let (mid, _) = x.parts();
    let length = mid.bit_len();
    let mut units = match places.checked_sub(length) {
        Some(shift) => mid << shift,
        None => mid >> (length - places),
    };
    let mut times = top;
    if units < IBig::from(3) << (places - 2) {
        units <<= 1;
        times -= 1;
    }
    for _ in 0..halved {
        units = square_root(units << places)?;
    }
    // ln m = 2 artanh((m-1)/(m+1)). A root halves the error and adds a unit, and the quotient adds another: at
    // most five units.
    let one = IBig::ONE << places;
    let ratio = ((&units - &one) << places) / (&units + &one);
    let (sum, n) = odd_powers(ratio, places, false);
    let mut result = sum << (halved + 1);
    result += IBig::from(times) * constants.ln2_units(places);
    // The error in units: five initially and three per term, doubled for each root and once more; two for each
    // ln 2.
    let error = ((3 * n + 12) << (halved + 1)) + 2 * times.unsigned_abs();
    Ok(Fixed::new(result, places, error))
}

/// Returns `x + x³/3 + x⁵/5 + …` in units of `2^-places`, with alternating signs if `by_turns`, and the last
/// exponent.
fn odd_powers(x: IBig, places: usize, by_turns: bool) -> (IBig, u64) {
    let square = (&x * &x) >> places;
    let mut power = x.clone();
    let mut sum = x;
    let mut n = 1u64;
    loop {
        power = (power * &square) >> places;
        n += 2;
        let term = &power / n;
        if term.is_zero() {
            return (sum, n);
        }
        if by_turns && n % 4 == 3 {
            sum -= term;
        } else {
            sum += term;
        }
    }
}

/// Returns the integer part of the square root.
fn square_root(value: IBig) -> Result<IBig, Fail> {
    let value = UBig::try_from(value).map_err(|_| Fail::Undefined)?;
    Ok(value.sqrt().into())
}

/// Returns the arctangent.
pub(super) fn arc_tangent(x: &Ball, bits: usize, constants: &mut Constants) -> Result<Ball, Fail> {
    // The derivative is at most 1.
    let slope = x.radius();
    if x.parts().0.is_zero() {
        return Ok(x.clone());
    }
    if x.top() < -(bits as i64) {
        // |arctan x - x| ≤ |x|³.
        let size = x.upper();
        return Ok(x.clone().inflate(size.multiply(size).multiply(size)));
    }
    arc_tangent_of_midpoint(x, bits, constants)?.ball(slope, bits)
}

/// Returns the arctangent of a nonzero midpoint.
fn arc_tangent_of_midpoint(
    x: &Ball,
    bits: usize,
    constants: &mut Constants,
) -> Result<Fixed, Fail> {
    let (mid, exponent) = x.parts();
    let top = x.top();
    let halved = halvings(bits);
    let small = (-top).max(0) as usize;
    let places = bits + halved + small + 32;
    let negative = mid.sign() == Sign::Negative;
    let size = mid.clone().abs();
    let one = IBig::ONE << places;
    // Above 1, use π/2 minus the arctangent of the reciprocal.
    let inverted = top > 0;
    let mut units = if inverted {
        // 2^places / (mid·2^exponent), or zero if that is less than a unit.
        match usize::try_from(places as i64 - exponent) {
            Ok(shift) => (IBig::ONE << shift) / &size,
            Err(_) => IBig::ZERO,
        }
    } else {
        to_fixed(&x.absolute(), places)?
    };
    // arctan v = 2 arctan(v / (1 + √(1 + v²))).
    for _ in 0..halved {
        let root = square_root((&one << places) + &units * &units)?;
        units = (units << places) / (&one + root);
    }
    let (sum, n) = odd_powers(units, places, true);
    let mut result = sum << halved;
    // The error in units: each halving halves it and adds three; three per term; doubled for each halving; and
    // that of π/2.
    let error = ((3 * n + 12) << halved) + 2;
    if inverted {
        result = (constants.pi_units(places) >> 1) - result;
    }
    if negative {
        result = -result;
    }
    Ok(Fixed::new(result, places, error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Tests the error bounds directly, before rounding to the requested precision could hide an error.
    #[test]
    fn the_units_that_are_lost_are_counted() {
        let mut constants = Constants::default();
        let meets = |fixed: Fixed, exact: Ball, what: &str| {
            let ball = fixed.ball(Magnitude::ZERO, usize::MAX).unwrap();
            let gap = ball.subtract(&exact, 4000).unwrap();
            assert!(gap.lower().is_zero(), "{what}: {gap:?}");
            // The bound must also be tight: not all guard bits may be lost.
            assert!(ball.radius().top() < exact.upper().top() - 20, "{what}");
        };
        for bits in [30usize, 64, 130, 300, 700] {
            for k in 1..60i64 {
                // Numbers of about 2^(k/3 - 10) for all k, positive and negative.
                let mid = IBig::from(k * k * 7_919 + 1) << (bits / 2);
                let exponent = k / 3 - 24 - (bits / 2) as i64;
                let x = Ball::new(mid, exponent, Magnitude::ZERO, 4000).unwrap();
                let more = bits + 300;
                for x in [x.clone(), x.clone().negate()] {
                    let (mantissa, times) = exponential_parts(&x, bits, &mut constants).unwrap();
                    let exact = exponential(&x, more, &mut constants).unwrap();
                    let exact = exact.shift(-times, more).unwrap();
                    meets(mantissa, exact, &format!("exp of {x:?} at {bits}"));
                    let (cosine, sine) = cos_sin_parts(&x, bits, &mut constants).unwrap();
                    let exact = cos_sin(&x, more, &mut constants).unwrap();
                    meets(cosine, exact.0, &format!("cos of {x:?} at {bits}"));
                    meets(sine, exact.1, &format!("sin of {x:?} at {bits}"));
                    let fixed = arc_tangent_of_midpoint(&x, bits, &mut constants).unwrap();
                    let exact = arc_tangent(&x, more, &mut constants).unwrap();
                    meets(fixed, exact, &format!("arctan of {x:?} at {bits}"));
                }
                let fixed = logarithm_of_midpoint(&x, bits, &mut constants).unwrap();
                let exact = logarithm(&x, more, &mut constants).unwrap();
                meets(fixed, exact, &format!("ln of {x:?} at {bits}"));
            }
        }
    }

    #[test]
    fn what_is_written_down_is_what_the_series_give() {
        for (words, series) in [
            (&digits::PI, pi_series as fn(usize) -> IBig),
            (&digits::LN2, ln2_series),
        ] {
            for places in [1, 63, 64, 65, 200, 1000, digits::PLACES - 1, digits::PLACES] {
                let exact = series(places + 40) >> 40usize;
                let Some(value) = written(words, places) else {
                    panic!("{places} places are not written down");
                };
                let difference = value - exact;
                assert!(difference.abs() <= IBig::ONE, "{places} places");
            }
            assert!(written(words, digits::PLACES + 1).is_none());
        }
        // Beyond the table, the series continue with the same values.
        let mut constants = Constants::default();
        let near = constants.pi_units(digits::PLACES);
        let far = constants.pi_units(digits::PLACES + 500) >> 500usize;
        assert!((near - far).abs() <= IBig::from(2));
    }
}
