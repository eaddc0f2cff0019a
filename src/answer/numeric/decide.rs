//! Decides equality, signs and integer parts with ball arithmetic of increasing precision.

use dashu_base::Abs;
use dashu_int::IBig;
use dashu_ratio::RBig;

use super::Fail;
use super::ball::Ball;
use super::complex::Complex;
use super::elementary::Constants;
use super::evaluate::{Evaluator, Extent, Unknowns, is_decided_by_form, is_rational_function};
use super::pieces::Pieces;
use super::points;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::value::Fraction;

/// The initial precision in bits. It suffices for most numbers that differ.
const FIRST_BITS: usize = 64;

/// The maximum precision in bits.
const MAX_BITS: usize = 2400;

/// The number of bits, beyond the sizes of two numbers, to which they must agree to be equal.
const AGREEMENT: i64 = 200;

/// Ranges beyond this would need too much precision.
const MAX_RANGE: i64 = 1 << 20;

/// The number of points at which two expressions must agree.
const POINTS: usize = 8;

/// The number of undecided points before the comparison is given up.
const MAX_UNDECIDED: usize = 4;

/// The result of a numeric comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numeric {
    /// They agree far beyond coincidence.
    Equal,
    /// They are proved to differ.
    Different,
    /// Neither was shown.
    Undecided,
}

/// The result at one point.
enum Found {
    Equal,
    Different,
    /// One side is undefined there.
    Undefined,
    Undecided,
}

/// The kinds of points.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    General,
    Far,
    Seldom,
    Whole,
    /// Points of the size of a power of ten.
    Scaled(usize),
}

/// How thoroughly two values are compared at a point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// They must agree far beyond coincidence.
    Proof,
    /// Only whether they differ in a number of bits in which most different values would.
    Glance,
}

/// Compares two constants, or two expressions as functions of real variables on their common domain. Their
/// canonical forms differ.
pub(crate) fn compare(
    left: &Fraction,
    right: &Fraction,
    budget: &mut Budget,
) -> Result<Numeric, EvalError> {
    if is_decided_by_form(left) && is_decided_by_form(right) {
        return Ok(Numeric::Different);
    }
    budget.spend((left.weight() + right.weight()) / 8)?;
    let mut constants = Constants::default();
    let unknowns = Unknowns::of(&[left, right]);
    if unknowns.any_varies() {
        return Ok(Numeric::Undecided);
    }
    let mut at = |point: &[RBig], asked: Asked, budget: &mut Budget| {
        let mut evaluate = |bits: usize, budget: &mut Budget| {
            let mut evaluator = Evaluator::new(bits, &unknowns, point, &mut constants, budget);
            let left = evaluator.fraction(left);
            if matches!(left, Err(Fail::Limit | Fail::Undefined)) {
                return (left.clone(), left, evaluator.extent);
            }
            let right = evaluator.fraction(right);
            (left, right, evaluator.extent)
        };
        settle(&mut evaluate, asked, budget)
    };
    if unknowns.is_empty() {
        return Ok(match at(&[], Asked::Proof, budget)? {
            Found::Equal => Numeric::Equal,
            Found::Different => Numeric::Different,
            Found::Undefined | Found::Undecided => Numeric::Undecided,
        });
    }
    let pieces = Pieces::of(&[left, right], unknowns.only());
    over_points(&unknowns, &pieces, &mut at, budget)
}

/// Compares two expressions at a point.
type At<'a> = &'a mut dyn FnMut(&[RBig], Asked, &mut Budget) -> Result<Found, EvalError>;

/// Compares two expressions at successive points until they are shown to differ or have agreed at enough
/// points.
fn over_points(
    unknowns: &Unknowns<'_>,
    pieces: &Pieces,
    at: At<'_>,
    budget: &mut Budget,
) -> Result<Numeric, EvalError> {
    use points::{FAR, GENERAL, SCALED, SELDOM, WHOLE};
    if pieces.endless {
        return Ok(Numeric::Undecided);
    }
    let dimensions = unknowns.len();
    let mut agreed = 0;
    let mut undecided = 0;
    // Piecewise expressions may agree near zero and differ far out.
    let far = if pieces.any { FAR } else { 0 };
    let general = (0..GENERAL).map(|index| (Place::General, index));
    let far = (0..far).map(|index| (Place::Far, index));
    let seldom = (0..SELDOM).map(|index| (Place::Seldom, index));
    let whole = (0..WHOLE).map(|index| (Place::Whole, index));
    let scales = if dimensions > 1 { pieces.scales() } else { &[] };
    let scaled = scales
        .iter()
        .flat_map(|&power| (0..SCALED).map(move |index| (Place::Scaled(power), index)));
    let mut only_whole = true;
    for (place, index) in general.chain(far).chain(seldom).chain(scaled).chain(whole) {
        budget.spend(1)?;
        let enough = agreed >= POINTS;
        let point = match place {
            Place::General if enough && !pieces.any => continue,
            Place::Seldom if enough => continue,
            // Expressions with jumps, or defined only at integers, are compared at all integer points.
            Place::Whole if enough && !only_whole && !pieces.jumps => break,
            Place::General => points::general(index, dimensions),
            Place::Far => points::far(index, dimensions),
            Place::Seldom => points::seldom(index, dimensions),
            Place::Whole => points::whole(index, dimensions),
            Place::Scaled(power) => points::scaled(index, dimensions, power),
        };
        let asked = if enough { Asked::Glance } else { Asked::Proof };
        match at(&point, asked, budget)? {
            Found::Equal => {
                agreed += 1;
                only_whole &= place == Place::Whole;
            }
            // Related functions cannot take independent values, so a difference proves nothing.
            Found::Different if unknowns.any_function() => return Ok(Numeric::Undecided),
            Found::Different => return Ok(Numeric::Different),
            Found::Undefined => {}
            // Far out, little can be computed, so undecided points do not count.
            Found::Undecided => {
                let counts = match place {
                    Place::Far | Place::Scaled(_) => false,
                    Place::Whole => !enough,
                    Place::General | Place::Seldom => true,
                };
                undecided += usize::from(counts);
                if undecided > MAX_UNDECIDED {
                    return Ok(Numeric::Undecided);
                }
            }
        }
    }
    if agreed < POINTS {
        return Ok(Numeric::Undecided);
    }
    // Compare piecewise expressions once in each known piece and at each jump.
    let Some(samples) = pieces.samples() else {
        return Ok(Numeric::Undecided);
    };
    for sample in samples {
        match at(&[sample], Asked::Proof, budget)? {
            Found::Different => return Ok(Numeric::Different),
            Found::Undecided => return Ok(Numeric::Undecided),
            Found::Equal | Found::Undefined => {}
        }
    }
    Ok(Numeric::Equal)
}

type Pair = (Result<Complex, Fail>, Result<Complex, Fail>, Extent);

/// Increases the precision until two values are shown to differ or to agree.
fn settle(
    evaluate: &mut dyn FnMut(usize, &mut Budget) -> Pair,
    asked: Asked,
    budget: &mut Budget,
) -> Result<Found, EvalError> {
    let mut bits = match asked {
        Asked::Proof => FIRST_BITS,
        Asked::Glance => 4 * FIRST_BITS,
    };
    loop {
        let (left, right, extent) = evaluate(bits, budget);
        let wanted = match (left, right) {
            (Err(Fail::Limit), _) | (_, Err(Fail::Limit)) => return Err(EvalError::LimitExceeded),
            (Err(Fail::Undefined), _) | (_, Err(Fail::Undefined)) => return Ok(Found::Undefined),
            (Err(Fail::Unknown), _) | (_, Err(Fail::Unknown)) => return Ok(Found::Undecided),
            (Ok(left), Ok(right)) => {
                let Ok(gap) = left.subtract(&right, bits) else {
                    return Ok(Found::Undecided);
                };
                if differs(&gap) {
                    return Ok(Found::Different);
                }
                if asked == Asked::Glance {
                    return Ok(Found::Equal);
                }
                let needed = Needed::of(&[&left, &right], extent);
                if needed.met_by(&gap) {
                    return Ok(Found::Equal);
                }
                needed.bits
            }
            _ => 0,
        };
        if bits >= MAX_BITS || wanted > MAX_BITS {
            return Ok(Found::Undecided);
        }
        bits = wanted.max(bits * 2).min(MAX_BITS);
    }
}

fn differs(gap: &Complex) -> bool {
    [&gap.re, &gap.im]
        .into_iter()
        .any(|part| matches!(part.sign(), Some(-1 | 1)))
}

/// How close two values must be known to be to count as equal.
struct Needed {
    /// Their distance must be known to be less than `2^threshold`.
    threshold: i64,
    /// A precision that probably suffices.
    bits: usize,
}

impl Needed {
    /// Requires agreement to 200 bits beyond the sizes involved. Different numbers can be close to each other
    /// if the numbers in them are long (`√(10^100+1)` and `10^50`) or intermediate values are large or small
    /// (`√(1+e^-300)` and 1, `tanh 500` and 1), and twice as close where a function is flat (`cos e^-200` and
    /// 1). The threshold is lowered by as many bits.
    fn of(values: &[&Complex], extent: Extent) -> Needed {
        let parts = values.iter().flat_map(|value| [&value.re, &value.im]);
        let size = parts.map(|part| part.upper().top()).max().unwrap_or(0);
        let length = i64::try_from(extent.bits).unwrap_or(i64::MAX / 4);
        let range = extent.range.min(MAX_RANGE);
        let threshold = size.clamp(0, range) - AGREEMENT - length - 2 * range;
        // From the leading bit of the larger value, with a margin for lost bits.
        let bits = size.max(-range) - threshold + 24;
        Needed {
            threshold,
            bits: usize::try_from(bits).unwrap_or(usize::MAX),
        }
    }

    fn met_by(&self, gap: &Complex) -> bool {
        [&gap.re, &gap.im]
            .into_iter()
            .all(|part| part.upper().top() <= self.threshold)
    }
}

/// Returns the sign of a real constant. It is zero if the constant agrees with zero far beyond coincidence.
pub(crate) fn sign(value: &Fraction, budget: &mut Budget) -> Result<Option<i8>, EvalError> {
    let mut constants = Constants::default();
    let unknowns = Unknowns::of(&[value]);
    if !unknowns.is_empty() {
        return Ok(None);
    }
    let mut bits = FIRST_BITS;
    loop {
        let mut evaluator = Evaluator::new(bits, &unknowns, &[], &mut constants, budget);
        let found = evaluator.fraction(value);
        let extent = evaluator.extent;
        let wanted = match found {
            Err(Fail::Limit) => return Err(EvalError::LimitExceeded),
            Err(Fail::Undefined | Fail::Unknown) => return Ok(None),
            Ok(found) => {
                if matches!(found.im.sign(), Some(-1 | 1)) {
                    return Ok(None);
                }
                if found.is_real()
                    && let Some(sign) = found.re.sign()
                {
                    return Ok(Some(sign));
                }
                let needed = Needed::of(&[&found], extent);
                if needed.met_by(&found) {
                    return Ok(Some(0));
                }
                needed.bits
            }
            Err(Fail::Unclear) => 0,
        };
        if bits >= MAX_BITS || wanted > MAX_BITS {
            return Ok(None);
        }
        bits = wanted.max(bits * 2).min(MAX_BITS);
    }
}

/// Returns a real constant as a ball, computed with `bits` bits, if it has a value.
fn real_ball(
    value: &Fraction,
    bits: usize,
    budget: &mut Budget,
) -> Result<Option<Ball>, EvalError> {
    let mut constants = Constants::default();
    let unknowns = Unknowns::of(&[value]);
    if !unknowns.is_empty() {
        return Ok(None);
    }
    let mut evaluator = Evaluator::new(bits, &unknowns, &[], &mut constants, budget);
    match evaluator.fraction(value) {
        Err(Fail::Limit) => Err(EvalError::LimitExceeded),
        Err(_) => Ok(None),
        Ok(value) => Ok(value.real().cloned()),
    }
}

/// Returns the floor of a real constant.
pub(crate) fn floor(value: &Fraction, budget: &mut Budget) -> Result<Option<IBig>, EvalError> {
    for bits in [FIRST_BITS, 4 * FIRST_BITS] {
        let Some(ball) = real_ball(value, bits, budget)? else {
            return Ok(None);
        };
        let Some((low, high)) = ball.floors() else {
            continue;
        };
        if low == high {
            return Ok(Some(low));
        }
        if &low + IBig::ONE == high {
            // The number is on one side of an integer, or is that integer.
            let whole = Fraction::rational(RBig::from(high.clone()));
            match sign(&value.subtract(&whole, budget)?, budget)? {
                Some(-1) => return Ok(Some(low)),
                Some(_) => return Ok(Some(high)),
                None => return Ok(None),
            }
        }
    }
    Ok(None)
}

/// Returns the multiple of π/12 that a real constant between -π and π may be equal to. Equality is not proved.
pub(crate) fn near_twelfth(
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Option<i64>, EvalError> {
    let Some(ball) = real_ball(value, FIRST_BITS, budget)? else {
        return Ok(None);
    };
    let near = || -> Result<Option<i64>, Fail> {
        let bits = FIRST_BITS;
        // ⌊12·value/π + 1/2⌋ and the remainder.
        let part = Constants::default()
            .pi(bits)?
            .divide(&Ball::whole(12), bits)?;
        let twelfths = ball.divide(&part, bits)?;
        let half = Ball::whole(1).shift(-1, bits)?;
        let Some((low, high)) = twelfths.add(&half, bits)?.floors() else {
            return Ok(None);
        };
        let Ok(k) = i64::try_from(&low) else {
            return Ok(None);
        };
        let rest = twelfths.subtract(&Ball::whole(k), bits)?;
        Ok((low == high && rest.sign().unwrap_or(0) == 0).then_some(k))
    };
    Ok(near().unwrap_or(None))
}

/// Returns whether a real constant is certainly within a distance of a rational number.
pub(crate) fn is_within(
    value: &Fraction,
    centre: &RBig,
    distance: &RBig,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    for bits in [FIRST_BITS, 4 * FIRST_BITS] {
        let Some(value) = real_ball(value, bits, budget)? else {
            return Ok(false);
        };
        let distance = Ball::rational(distance, bits);
        let within = Ball::rational(centre, bits)
            .and_then(|centre| nearer(&value, &centre, &distance?, bits));
        if let Some(within) = within.unwrap_or(Some(false)) {
            return Ok(within);
        }
    }
    Ok(false)
}

/// Returns whether a real constant certainly differs from another by at most `part` times that one.
pub(crate) fn is_near(
    value: &Fraction,
    other: &Fraction,
    part: &RBig,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    if let (Some(value), Some(other)) = (value.as_rational(), other.as_rational()) {
        let gap = (value - &other).abs();
        return Ok(gap <= part * other.abs());
    }
    for bits in [FIRST_BITS, 4 * FIRST_BITS] {
        let (Some(value), Some(other)) = (
            real_ball(value, bits, budget)?,
            real_ball(other, bits, budget)?,
        ) else {
            return Ok(false);
        };
        let near = Ball::rational(part, bits)
            .and_then(|part| part.multiply(&other.absolute(), bits))
            .and_then(|distance| nearer(&value, &other, &distance, bits));
        if let Some(near) = near.unwrap_or(Some(false)) {
            return Ok(near);
        }
    }
    Ok(false)
}

/// Returns whether `|a - b| ≤ distance`, or `None` if that is not certain.
fn nearer(a: &Ball, b: &Ball, distance: &Ball, bits: usize) -> Result<Option<bool>, Fail> {
    let gap = a.subtract(b, bits)?.absolute();
    Ok(gap.subtract(distance, bits)?.sign().map(|sign| sign <= 0))
}

/// Returns the sign of the constant real ratio of two expressions, if there is one.
pub(crate) fn proportional(
    left: &Fraction,
    right: &Fraction,
    budget: &mut Budget,
) -> Result<Option<i8>, EvalError> {
    if is_rational_function(left) && is_rational_function(right) {
        return Ok(None);
    }
    budget.spend((left.weight() + right.weight()) / 8)?;
    let mut constants = Constants::default();
    let unknowns = Unknowns::of(&[left, right]);
    // The first point at which both values are known to be nonzero gives the sign.
    let mut anchor: Option<Vec<RBig>> = None;
    let mut factor = None;
    for index in 0..points::GENERAL {
        budget.spend(1)?;
        let point = points::general(index, unknowns.len());
        let mut evaluator = Evaluator::new(FIRST_BITS, &unknowns, &point, &mut constants, budget);
        let (a, b) = (evaluator.fraction(left), evaluator.fraction(right));
        match (a, b) {
            (Err(Fail::Limit), _) | (_, Err(Fail::Limit)) => return Err(EvalError::LimitExceeded),
            (Ok(a), Ok(b)) => {
                let signs = (a.re.sign(), b.re.sign());
                if !a.is_real() || !b.is_real() {
                    return Ok(None);
                }
                match signs {
                    (Some(0), Some(0)) => {}
                    (Some(0), Some(_)) | (Some(_), Some(0)) => return Ok(None),
                    (Some(a), Some(b)) => {
                        factor = Some(a * b);
                        anchor = Some(point);
                        break;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let (Some(anchor), Some(factor)) = (anchor, factor) else {
        return Ok(None);
    };
    // left(p)·right(anchor) = right(p)·left(anchor) at all other points.
    let mut at = |point: &[RBig], asked: Asked, budget: &mut Budget| {
        if point == anchor {
            return Ok(Found::Undefined);
        }
        let mut evaluate = |bits: usize, budget: &mut Budget| {
            let mut values = Vec::with_capacity(4);
            let mut extent = Extent::default();
            for point in [anchor.as_slice(), point] {
                let mut evaluator = Evaluator::new(bits, &unknowns, point, &mut constants, budget);
                values.push(evaluator.fraction(left));
                values.push(evaluator.fraction(right));
                extent.bits = extent.bits.max(evaluator.extent.bits);
                extent.range += evaluator.extent.range;
            }
            let product = |i: usize, j: usize| match (&values[i], &values[j]) {
                (Ok(a), Ok(b)) => a.multiply(b, bits),
                (Err(fail), _) | (_, Err(fail)) => Err(*fail),
            };
            (product(2, 1), product(3, 0), extent)
        };
        settle(&mut evaluate, asked, budget)
    };
    let pieces = Pieces::of(&[left, right], unknowns.only());
    let found = over_points(&unknowns, &pieces, &mut at, budget)?;
    Ok((found == Numeric::Equal).then_some(factor))
}
