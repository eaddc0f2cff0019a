//! Integrals and limits: definite integrals of what has an antiderivative by a few rules, limits
//! of what is continuous or rational, and every other one as an atom of its parts, so that two
//! written the same way are equal.

use dashu_ratio::RBig;
use smol_str::SmolStr;

use super::fraction::Fraction;
use super::functions::{call, sign};
use super::number;
use super::poly::{Atom, Base, Monomial, Poly};
use super::scalar::{Binding, Bindings, depth, scalar};
use crate::answer::budget::{Budget, Stop};
use crate::answer::latex::{Big, Kind, Node, Relation};

/// Most integrations by parts, or reductions of a power, of one term.
const MAX_PARTS: i64 = 12;

/// Most integral signs in a row.
const MAX_NESTED: usize = 4;

/// The value of an integral, of several in a row included.
pub(super) fn integral(
    big: &Big,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, Stop> {
    let mut signs = vec![big];
    let mut body = &big.body;
    while let Kind::Big(inner) = &body.kind
        && inner.operator == "int"
    {
        signs.push(inner);
        body = &inner.body;
        if signs.len() > MAX_NESTED {
            return Err(Stop::Limit);
        }
    }
    let mut rest = body.clone();
    let mut variables = Vec::new();
    for _ in &signs {
        let Some((inner, variable)) = differential(&rest, budget)? else {
            break;
        };
        rest = inner;
        variables.push(variable);
    }
    if variables.is_empty() && signs.len() == 1 {
        // No variable is named: the parts are all that is known.
        let mut arguments = vec![scalar(&rest, bound, budget)?];
        for end in [&big.below, &big.above].into_iter().flatten() {
            arguments.push(limit_of_range(end, bound, budget)?);
        }
        return Ok(call("int", arguments));
    }
    if variables.len() != signs.len() {
        return Err(Stop::Unknown);
    }
    // The innermost differential belongs to the innermost sign, but the last one written was
    // taken off first.
    level(&signs, &variables, &rest, bound, budget)
}

/// The integral of the outermost sign left, over the variable split off first.
fn level(
    signs: &[&Big],
    variables: &[SmolStr],
    integrand: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, Stop> {
    let (Some((big, inner)), Some((variable, rest))) =
        (signs.split_first(), variables.split_first())
    else {
        return scalar(integrand, bound, budget);
    };
    match (&big.below, &big.above) {
        (None, None) => {
            let body = level(inner, rest, integrand, bound, budget)?;
            Ok(call("int", vec![body, Fraction::symbol(variable)]))
        }
        (Some(below), Some(above)) => {
            let name = format!("bound {}", depth(bound));
            let binding = Binding {
                name: variable,
                value: Fraction::symbol(&name),
                outer: bound,
            };
            let body = level(inner, rest, integrand, Some(&binding), budget)?;
            let low = limit_of_range(below, bound, budget)?;
            let high = limit_of_range(above, bound, budget)?;
            definite(&body, &name, &low, &high, budget)
        }
        // A region below the sign, or one end alone.
        _ => Err(Stop::Unknown),
    }
}

/// An end of a range, which may be infinite.
fn limit_of_range(node: &Node, bound: Bindings<'_>, budget: &mut Budget) -> Result<Fraction, Stop> {
    match &node.kind {
        Kind::Infinity => Ok(Fraction::symbol("infinity")),
        Kind::Neg(inner) if matches!(inner.kind, Kind::Infinity) => {
            Ok(Fraction::symbol("infinity").negate())
        }
        _ => scalar(node, bound, budget),
    }
}

/// An integrand without the differential behind it, and the differential's variable.
fn differential(node: &Node, budget: &mut Budget) -> Result<Option<(Node, SmolStr)>, Stop> {
    budget.enter()?;
    let again = |inner: &Node, budget: &mut Budget| differential(inner, budget);
    let split = match &node.kind {
        Kind::Mul(factors) => match factors.as_slice() {
            [rest @ .., d, variable] if is_d(d) => variable_name(variable).map(|name| {
                let one = Kind::Mul(rest.to_vec());
                (Node::new(one, node.span.clone()), name)
            }),
            // `\int \frac{1}{x^2} \frac{dx}{2}`: it stands in the last factor.
            [rest @ .., last] => again(last, budget)?.map(|(inner, name)| {
                let mut factors = rest.to_vec();
                factors.push(inner);
                (Node::new(Kind::Mul(factors), node.span.clone()), name)
            }),
            [] => None,
        },
        Kind::Add(terms) => match terms.split_last() {
            Some((last, rest)) => again(last, budget)?.map(|(inner, name)| {
                let mut terms = rest.to_vec();
                terms.push(inner);
                (Node::new(Kind::Add(terms), node.span.clone()), name)
            }),
            None => None,
        },
        Kind::Neg(inner) => again(inner, budget)?.map(|(inner, name)| {
            let kind = Kind::Neg(Box::new(inner));
            (Node::new(kind, node.span.clone()), name)
        }),
        Kind::Div(top, bottom) => again(top, budget)?.map(|(top, name)| {
            let kind = Kind::Div(Box::new(top), bottom.clone());
            (Node::new(kind, node.span.clone()), name)
        }),
        Kind::Group(inner) => again(inner, budget)?,
        Kind::Set(items) => match items.as_slice() {
            [inner] => again(inner, budget)?,
            _ => None,
        },
        _ => None,
    };
    budget.leave();
    Ok(split)
}

fn is_d(node: &Node) -> bool {
    matches!(&node.kind, Kind::Symbol(name) if name == "d")
}

fn variable_name(node: &Node) -> Option<SmolStr> {
    match &node.kind {
        Kind::Symbol(name) if !matches!(name.as_str(), "π" | "e" | "i" | "d") => {
            Some(name.clone())
        }
        _ => None,
    }
}

/// The integral of `body` over `name` from `low` to `high`.
fn definite(
    body: &Fraction,
    name: &str,
    low: &Fraction,
    high: &Fraction,
    budget: &mut Budget,
) -> Result<Fraction, Stop> {
    let finite = !low.depends_on("infinity") && !high.depends_on("infinity");
    if finite && let Some(whole) = antiderivative(body, name, low, high, budget)? {
        let top = budget.attempt(|budget| whole.substitute(name, high, budget))?;
        let bottom = budget.attempt(|budget| whole.substitute(name, low, budget))?;
        // Without a value at an end it is left as it is.
        if let (Some(top), Some(bottom)) = (top, bottom) {
            return top.subtract(&bottom, budget);
        }
    }
    let to_infinity = !low.depends_on("infinity") && *high == Fraction::symbol("infinity");
    if to_infinity {
        // Any positive number has infinity's sign.
        let some = Fraction::whole(1);
        if let Some(whole) = antiderivative(body, name, low, &some, budget)? {
            let top = at_the_end(&whole, name, budget)?;
            let bottom = budget.attempt(|budget| whole.substitute(name, low, budget))?;
            if let (Some(top), Some(bottom)) = (top, bottom) {
                return top.subtract(&bottom, budget);
            }
        }
    }
    let arguments = vec![body.clone(), low.clone(), high.clone()];
    Ok(call("integral", arguments))
}

/// The sum over all whole numbers from `from` on of terms with one ratio below 1.
pub(super) fn geometric(
    body: &Fraction,
    from: &Fraction,
    depth: usize,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let name = format!("bound {depth}");
    if !body.depends_on(&name) {
        return Ok(None);
    }
    let next = Fraction::symbol(&name).add(&Fraction::whole(1), budget)?;
    let first = budget.attempt(|budget| body.substitute(&name, from, budget))?;
    let ratio =
        budget.attempt(|budget| body.substitute(&name, &next, budget)?.divide(body, budget))?;
    let (Some(first), Some(ratio)) = (first, ratio) else {
        return Ok(None);
    };
    let one = Fraction::whole(1);
    let rest = one.subtract(&ratio, budget)?;
    let converges = !ratio.depends_on(&name)
        && sign(&rest, budget)? == Some(1)
        && sign(&one.add(&ratio, budget)?, budget)? == Some(1);
    if !converges {
        return Ok(None);
    }
    Ok(Some(first.divide(&rest, budget)?))
}

/// An antiderivative's value at positive infinity, where each of its terms has one by itself.
fn at_the_end(whole: &Fraction, name: &str, budget: &mut Budget) -> Result<Option<Fraction>, Stop> {
    let denominator = Fraction::from(whole.denominator.clone());
    if denominator.depends_on(name) {
        return Ok(None);
    }
    let mut rest = Poly::default();
    for (monomial, coefficient) in &whole.numerator.0 {
        let term = Poly::term(monomial.clone(), coefficient.clone());
        if !Fraction::from(term.clone()).depends_on(name) {
            rest = rest.add(&term, budget)?;
        } else if !vanishes(monomial, name, budget)? {
            return Ok(None);
        }
    }
    Fraction::from(rest).divide(&denominator, budget).map(Some)
}

/// Whether a product goes to zero at positive infinity: a falling exponential with whatever powers
/// beside it, or a falling power.
fn vanishes(monomial: &Monomial, name: &str, budget: &mut Budget) -> Result<bool, Stop> {
    let (mut falling, mut rising_power) = (false, false);
    let mut exponential = false;
    for (atom, exponent) in monomial {
        match atom {
            Atom::Symbol(symbol) if symbol == name => {
                let down = number::is_negative(exponent);
                falling |= down;
                rising_power |= !down;
            }
            Atom::Power(base, power) if matches!(**base, Base::Euler) => {
                let argument: Fraction = Poly::term(power.clone(), exponent.clone()).into();
                if argument.depends_on(name) {
                    let Some(slope) = slope(&argument, name, budget)? else {
                        return Ok(false);
                    };
                    if sign(&slope, budget)? != Some(-1) {
                        return Ok(false);
                    }
                    exponential = true;
                }
            }
            atom if Fraction::atom(atom.clone()).depends_on(name) => return Ok(false),
            _ => {}
        }
    }
    Ok(exponential || falling && !rising_power)
}

/// `∫ c/(ax+b)` where that is above zero, and `∫ c/(ax²+b)` without a zero.
fn of_quotient(
    body: &Fraction,
    name: &str,
    low: &Fraction,
    high: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let top = Fraction::from(body.numerator.clone());
    let bottom = Fraction::from(body.denominator.clone());
    if top.depends_on(name) {
        return Ok(None);
    }
    if let Some(slope) = slope(&bottom, name, budget)? {
        for end in [low, high] {
            let value = budget.attempt(|budget| bottom.substitute(name, end, budget))?;
            let Some(value) = value else {
                return Ok(None);
            };
            if sign(&value, budget)? != Some(1) {
                return Ok(None);
            }
        }
        let logarithm = call("ln", vec![bottom]);
        let whole = top.divide(&slope, budget)?.multiply(&logarithm, budget)?;
        return Ok(Some(whole));
    }
    let at = |x: i64, budget: &mut Budget| {
        budget.attempt(|budget| bottom.substitute(name, &Fraction::whole(x), budget))
    };
    let (Some(zero), Some(one)) = (at(0, budget)?, at(1, budget)?) else {
        return Ok(None);
    };
    let square = one.subtract(&zero, budget)?;
    let x = Fraction::symbol(name);
    let shape = square
        .multiply(&x, budget)?
        .multiply(&x, budget)?
        .add(&zero, budget)?;
    if square.is_zero() || square.depends_on(name) || !shape.same(&bottom, budget)? {
        return Ok(None);
    }
    // a x² + b = a (x² + s²), and the integral is arctan(x/s) / (a s).
    let inside = zero.divide(&square, budget)?;
    if sign(&inside, budget)? != Some(1) {
        return Ok(None);
    }
    let half = RBig::ONE / number::whole(2);
    let root = inside.rational_power(&half, budget)?;
    let angle = call("arctan", vec![x.divide(&root, budget)?]);
    let scale = square.multiply(&root, budget)?;
    Ok(Some(top.divide(&scale, budget)?.multiply(&angle, budget)?))
}

/// A function whose derivative `body` is, continuous from `low` to `high`.
fn antiderivative(
    body: &Fraction,
    name: &str,
    low: &Fraction,
    high: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let denominator = Fraction::from(body.denominator.clone());
    if denominator.depends_on(name) {
        return of_quotient(body, name, low, high, budget);
    }
    let range = Range {
        low: sign(low, budget)?,
        high: sign(high, budget)?,
    };
    let mut sum = Fraction::whole(0);
    for (monomial, coefficient) in &body.numerator.0 {
        budget.spend(1)?;
        let Some(term) = of_term(monomial, name, range, budget)? else {
            return Ok(None);
        };
        let coefficient = Fraction::rational(coefficient.clone());
        sum = sum.add(&term.multiply(&coefficient, budget)?, budget)?;
    }
    Ok(Some(sum.divide(&denominator, budget)?))
}

/// Signs of the ends, where they are known.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: Option<i8>,
    high: Option<i8>,
}

impl Range {
    fn is_positive(self) -> bool {
        self.low == Some(1) && self.high == Some(1)
    }

    fn is_negative(self) -> bool {
        self.low == Some(-1) && self.high == Some(-1)
    }

    fn reaches_zero(self) -> bool {
        matches!(self.low, Some(0 | 1)) && matches!(self.high, Some(0 | 1))
    }
}

/// An antiderivative of a product of atoms.
fn of_term(
    monomial: &Monomial,
    name: &str,
    range: Range,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let mut free = Monomial::new();
    let mut power = RBig::ZERO;
    let mut others: Vec<&(Atom, RBig)> = Vec::new();
    for factor in monomial {
        match &factor.0 {
            Atom::Symbol(symbol) if symbol == name => power = factor.1.clone(),
            atom if Fraction::atom(atom.clone()).depends_on(name) => others.push(factor),
            _ => free.push(factor.clone()),
        }
    }
    let free: Fraction = Poly::term(free, RBig::ONE).into();
    let inner = match others.as_slice() {
        [] => of_power(&power, name, range, budget)?,
        [(Atom::Power(base, exponent), times)] if matches!(**base, Base::Euler) => {
            of_exponential(&power, exponent, times, name, budget)?
        }
        factors if power.is_zero() => of_circular(factors, name, budget)?,
        _ => None,
    };
    match inner {
        Some(inner) => Ok(Some(free.multiply(&inner, budget)?)),
        None => Ok(None),
    }
}

/// `∫ xʳ`.
fn of_power(
    power: &RBig,
    name: &str,
    range: Range,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let x = Fraction::symbol(name);
    let next = power + RBig::ONE;
    if next.is_zero() {
        // ln x where the range is positive.
        return Ok(range
            .is_positive()
            .then(|| call("ln", vec![Fraction::symbol(name)])));
    }
    let whole = power.is_int();
    let rising = !number::is_negative(power);
    let continuous = if whole && rising {
        true
    } else if whole {
        range.is_positive() || range.is_negative()
    } else if number::is_negative(&next) {
        range.is_positive()
    } else {
        range.reaches_zero()
    };
    if !continuous {
        return Ok(None);
    }
    let inverse = Fraction::rational(RBig::ONE / &next);
    let term: Fraction = match x.numerator.as_term() {
        Some((monomial, _)) => {
            let raised = monomial
                .iter()
                .map(|(atom, _)| (atom.clone(), next.clone()))
                .collect();
            Poly::term(raised, RBig::ONE).into()
        }
        None => return Ok(None),
    };
    Ok(Some(term.multiply(&inverse, budget)?))
}

/// `∫ xⁿ e^(ax)`, by parts.
fn of_exponential(
    power: &RBig,
    exponent: &Monomial,
    times: &RBig,
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let Some(n) = number::small(power).filter(|n| (0..=MAX_PARTS).contains(n)) else {
        return Ok(None);
    };
    let argument: Fraction = Poly::term(exponent.clone(), times.clone()).into();
    let Some(slope) = slope(&argument, name, budget)? else {
        return Ok(None);
    };
    let atom = Atom::Power(Box::new(Base::Euler), exponent.clone());
    let exponential: Fraction = Poly::term(vec![(atom, times.clone())], RBig::ONE).into();
    // ∫ xⁿ eᵃˣ = eᵃˣ (xⁿ/a - n xⁿ⁻¹/a² + …).
    let x = Fraction::symbol(name);
    let mut sum = Fraction::whole(0);
    let mut factor = Fraction::whole(1).divide(&slope, budget)?;
    for k in (0..=n).rev() {
        let term = if k == 0 {
            factor.clone()
        } else {
            let raised = x.rational_power(&number::whole(k), budget)?;
            raised.multiply(&factor, budget)?
        };
        sum = sum.add(&term, budget)?;
        let next = Fraction::whole(-k).divide(&slope, budget)?;
        factor = factor.multiply(&next, budget)?;
    }
    Ok(Some(exponential.multiply(&sum, budget)?))
}

/// `∫ cosⁿ(ax+b) sinᵐ(ax+b)` with `m` 0 or 1, as the normal form has it.
fn of_circular(
    factors: &[&(Atom, RBig)],
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    let mut argument: Option<&Fraction> = None;
    let (mut cosines, mut sines) = (0, 0);
    for (atom, exponent) in factors {
        let Atom::Call(function, arguments) = atom else {
            return Ok(None);
        };
        let ([inner], Some(n)) = (arguments.as_slice(), number::small(exponent)) else {
            return Ok(None);
        };
        if argument.is_some_and(|other| other != inner) || !(1..=MAX_PARTS).contains(&n) {
            return Ok(None);
        }
        argument = Some(inner);
        match function.as_str() {
            "cos" => cosines = n,
            "sin" if n == 1 => sines = n,
            _ => return Ok(None),
        }
    }
    let Some(argument) = argument else {
        return Ok(None);
    };
    let Some(slope) = slope(argument, name, budget)? else {
        return Ok(None);
    };
    let cosine = call("cos", vec![argument.clone()]);
    let sine = call("sin", vec![argument.clone()]);
    let raised = |n: i64, budget: &mut Budget| -> Result<Fraction, Stop> {
        if n == 0 {
            return Ok(Fraction::whole(1));
        }
        cosine.rational_power(&number::whole(n), budget)
    };
    if sines == 1 {
        let scale = Fraction::whole(-cosines - 1).multiply(&slope, budget)?;
        return Ok(Some(raised(cosines + 1, budget)?.divide(&scale, budget)?));
    }
    // ∫ cosⁿ = (cosⁿ⁻¹ sin)/n + (n-1)/n ∫ cosⁿ⁻².
    let mut sum = Fraction::whole(0);
    let mut factor = Fraction::whole(1);
    let mut n = cosines;
    while n > 0 {
        let scale = Fraction::whole(n).multiply(&slope, budget)?;
        let term = raised(n - 1, budget)?.multiply(&sine, budget)?;
        let term = term.divide(&scale, budget)?.multiply(&factor, budget)?;
        sum = sum.add(&term, budget)?;
        let ratio = Fraction::whole(n - 1).divide(&Fraction::whole(n), budget)?;
        factor = factor.multiply(&ratio, budget)?;
        n -= 2;
    }
    if n == 0 {
        let rest = Fraction::symbol(name).multiply(&factor, budget)?;
        sum = sum.add(&rest, budget)?;
    }
    Ok(Some(sum))
}

/// The constant slope of an expression that is linear in a variable.
fn slope(argument: &Fraction, name: &str, budget: &mut Budget) -> Result<Option<Fraction>, Stop> {
    let at = |x: i64, budget: &mut Budget| {
        budget.attempt(|budget| argument.substitute(name, &Fraction::whole(x), budget))
    };
    let (Some(zero), Some(one)) = (at(0, budget)?, at(1, budget)?) else {
        return Ok(None);
    };
    let slope = one.subtract(&zero, budget)?;
    let line = slope
        .multiply(&Fraction::symbol(name), budget)?
        .add(&zero, budget)?;
    let linear = !slope.is_zero() && !slope.depends_on(name) && line.same(argument, budget)?;
    Ok(linear.then_some(slope))
}

/// The value of a limit.
pub(super) fn limit(big: &Big, bound: Bindings<'_>, budget: &mut Budget) -> Result<Fraction, Stop> {
    let below = big.below.as_ref().ok_or(Stop::Unknown)?;
    let Kind::Chain(sides, relations) = &below.kind else {
        return Err(Stop::Unknown);
    };
    let ([variable, target], [Relation::Other("to")]) = (sides.as_slice(), relations.as_slice())
    else {
        return Err(Stop::Unknown);
    };
    let name = variable_name(variable).ok_or(Stop::Unknown)?;
    let inner = format!("bound {}", depth(bound));
    let binding = Binding {
        name: &name,
        value: Fraction::symbol(&inner),
        outer: bound,
    };
    let body = scalar(&big.body, Some(&binding), budget)?;
    if !body.depends_on(&inner) {
        return Ok(body);
    }
    let (point, side) = match &target.kind {
        Kind::Call(side, arguments) if side == "from above" || side == "from below" => {
            match arguments.as_slice() {
                [point] => (point, side.as_str()),
                _ => return Err(Stop::Unknown),
            }
        }
        _ => (target, ""),
    };
    let point = limit_of_range(point, bound, budget)?;
    if point.depends_on("infinity") {
        if let Some(value) = at_infinity(&body, &inner, budget)? {
            return Ok(value);
        }
    } else if is_rational_in(&body.numerator, &inner) && is_rational_in(&body.denominator, &inner) {
        let value = budget.attempt(|budget| body.substitute(&inner, &point, budget))?;
        if let Some(value) = value {
            return Ok(value);
        }
    }
    let mut arguments = vec![body, point];
    if !side.is_empty() {
        arguments.push(Fraction::symbol(side));
    }
    Ok(call("limit", arguments))
}

/// Whether a polynomial is one in a variable: whole powers, and in no other atom.
fn is_rational_in(poly: &Poly, name: &str) -> bool {
    poly.0
        .iter()
        .flat_map(|(monomial, _)| monomial)
        .all(|(atom, exponent)| match atom {
            Atom::Symbol(symbol) if symbol == name => {
                exponent.is_int() && !number::is_negative(exponent)
            }
            atom => !Fraction::atom(atom.clone()).depends_on(name),
        })
}

/// The limit of a quotient of polynomials at either infinity, where it is finite.
fn at_infinity(body: &Fraction, name: &str, budget: &mut Budget) -> Result<Option<Fraction>, Stop> {
    // A single power in the denominator stands in the numerator with a negative exponent.
    let leading = |poly: &Poly, budget: &mut Budget| -> Result<Option<(i64, Poly)>, Stop> {
        let mut best: Option<(i64, Poly)> = None;
        for (monomial, coefficient) in &poly.0 {
            let mut degree = 0;
            let mut rest = Monomial::new();
            for (atom, exponent) in monomial {
                match atom {
                    Atom::Symbol(symbol) if symbol == name => {
                        let Some(n) = number::small(exponent) else {
                            return Ok(None);
                        };
                        degree = n;
                    }
                    atom if Fraction::atom(atom.clone()).depends_on(name) => return Ok(None),
                    _ => rest.push((atom.clone(), exponent.clone())),
                }
            }
            match &mut best {
                Some((most, _)) if *most > degree => {}
                Some((most, sum)) if *most == degree => {
                    // Terms of one degree are different monomials: nothing cancels.
                    *sum = sum.add(&Poly::term(rest, coefficient.clone()), budget)?;
                }
                _ => best = Some((degree, Poly::term(rest, coefficient.clone()))),
            }
        }
        Ok(best)
    };
    let (Some((n, top)), Some((m, bottom))) = (
        leading(&body.numerator, budget)?,
        leading(&body.denominator, budget)?,
    ) else {
        return Ok(None);
    };
    match n.cmp(&m) {
        std::cmp::Ordering::Less => Ok(Some(Fraction::whole(0))),
        std::cmp::Ordering::Equal => Fraction::from(top)
            .divide(&Fraction::from(bottom), budget)
            .map(Some),
        std::cmp::Ordering::Greater => Ok(None),
    }
}
