//! Evaluates an expression in canonical form at a point, which gives each variable a value.
//!
//! Variables are real. Parts that depend on them have a value only where that is real (or becomes complex
//! through an `i` in the expression). Constants such as `√(1-√2)` are complex, on principal branches.

use dashu_base::BitTest;
use dashu_int::UBig;
use dashu_ratio::RBig;

use super::Fail;
use super::ball::Ball;
use super::calls;
use super::complex::Complex;
use super::elementary::Constants;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::value::{Atom, Base, Fraction, Monomial, Poly};

/// The number of terms of a polynomial up to which all sizes are counted.
const COUNTED_TERMS: usize = 8;

/// Variables and unknown functions, sorted.
#[derive(Debug, Default)]
pub(super) struct Unknowns<'a> {
    atoms: Vec<&'a Atom>,
    /// Whether an unknown function depends on the index of a sum. It then cannot be evaluated.
    varies: bool,
}

impl<'a> Unknowns<'a> {
    /// Collects the unknowns of several expressions.
    pub(super) fn of(expressions: &[&'a Fraction]) -> Unknowns<'a> {
        let mut found = Unknowns::default();
        for expression in expressions {
            found.in_fraction(expression);
        }
        found.atoms.sort();
        found.atoms.dedup();
        found
    }

    pub(super) fn len(&self) -> usize {
        self.atoms.len()
    }

    /// Returns the unknown, if there is exactly one.
    pub(super) fn only(&self) -> Option<&'a Atom> {
        match self.atoms.as_slice() {
            [atom] => Some(atom),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.atoms.is_empty()
    }

    /// Returns whether any unknown is a function. Expressions that differ for independent values of functions
    /// may still be equal.
    pub(super) fn any_function(&self) -> bool {
        self.atoms.iter().any(|atom| matches!(atom, Atom::Call(..)))
    }

    /// Returns whether an unknown function depends on the index of a sum.
    pub(super) fn any_varies(&self) -> bool {
        self.varies
    }

    fn position(&self, atom: &Atom) -> Option<usize> {
        self.atoms.binary_search(&atom).ok()
    }

    fn in_fraction(&mut self, value: &'a Fraction) {
        self.in_poly(&value.numerator);
        self.in_poly(&value.denominator);
    }

    fn in_poly(&mut self, value: &'a Poly) {
        for (monomial, _) in &value.0 {
            for (atom, _) in monomial {
                self.in_atom(atom);
            }
        }
    }

    fn in_atom(&mut self, atom: &'a Atom) {
        match atom {
            Atom::Symbol(name) if name == "π" || is_bound(name) => {}
            Atom::Symbol(_) => self.atoms.push(atom),
            Atom::Integer(_) | Atom::Imaginary => {}
            Atom::Power(base, exponent) => {
                if let Base::Atom(base) = &**base {
                    self.in_atom(base);
                }
                for (atom, _) in exponent {
                    self.in_atom(atom);
                }
            }
            Atom::Call(name, arguments) if is_known(name, arguments.len()) => {
                for argument in arguments {
                    self.in_fraction(argument);
                }
            }
            Atom::Call(_, arguments) => {
                self.varies |= arguments.iter().any(holds_index);
                self.atoms.push(atom);
            }
            Atom::Sum(inner) => self.in_poly(inner),
        }
    }
}

/// The prefix of the name of a bound index. It is followed by the number of enclosing bindings.
const BOUND: &str = "bound ";

/// Returns whether a name is that of a bound index.
fn is_bound(name: &str) -> bool {
    name.starts_with(BOUND)
}

/// Returns whether an expression contains a bound index.
fn holds_index(value: &Fraction) -> bool {
    let mut names = std::collections::BTreeSet::new();
    value.symbols(&mut names);
    names.iter().any(|name| is_bound(name))
}

/// The maximum number of terms of a sum or product at one point.
const MAX_TERMS: i64 = 24;

/// The maximum exponent for exact evaluation.
const MAX_EXACT_POWER: i64 = 16;

/// Returns whether a function can be evaluated, by its name and number of arguments.
fn is_known(name: &str, arguments: usize) -> bool {
    match arguments {
        0 => name == "minus_one",
        1 => matches!(
            name,
            "ln" | "exp"
                | "sin"
                | "cos"
                | "abs"
                | "arcsin"
                | "arccos"
                | "arctan"
                | "arccot"
                | "arcsec"
                | "arccsc"
                | "arcsinh"
                | "arccosh"
                | "arctanh"
                | "coth"
                | "sech"
                | "csch"
                | "floor"
                | "ceil"
                | "factorial"
        ),
        // `gcd` and `lcm` are excluded: agreement at a few integers proves nothing about others.
        2 => matches!(name, "^" | "binom" | "mod" | "max" | "min"),
        3 if matches!(name, "sum" | "prod") => true,
        _ => matches!(name, "max" | "min"),
    }
}

/// The maximum length, in bits, of an integer under a root that is known to be prime. Trial division has
/// removed the prime factors below 3,000, so composite numbers have at least 24 bits.
const PRIME_BITS: usize = 23;

/// Returns whether the canonical form alone decides equality: it is a quotient of polynomials in variables, π,
/// `i` and roots of primes, which are independent of each other.
pub(super) fn is_decided_by_form(value: &Fraction) -> bool {
    all_atoms(value, |atom, _| match atom {
        Atom::Symbol(_) | Atom::Imaginary => true,
        Atom::Integer(value) => value.bit_len() <= PRIME_BITS,
        _ => false,
    })
}

/// Returns whether an expression is a quotient of polynomials in variables with rational coefficients.
pub(super) fn is_rational_function(value: &Fraction) -> bool {
    all_atoms(value, |atom, exponent| match atom {
        Atom::Symbol(name) => exponent.is_int() && name != "π",
        _ => false,
    })
}

fn all_atoms(value: &Fraction, fits: impl Fn(&Atom, &RBig) -> bool) -> bool {
    [&value.numerator, &value.denominator]
        .into_iter()
        .flat_map(|poly| &poly.0)
        .flat_map(|(monomial, _)| monomial)
        .all(|(atom, exponent)| fits(atom, exponent))
}

/// The sizes in an evaluation: the total length of the numbers in the expression in bits, and the range of the
/// intermediate values as the sum of their `|log₂|`. For a sum, the largest and the smallest term count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) bits: usize,
    pub(super) range: i64,
}

/// A part that has been evaluated.
struct Seen<'a> {
    atom: &'a Atom,
    value: Complex,
    /// Whether its value is the same at all points.
    fixed: bool,
}

/// Evaluates expressions at one point with a given precision.
pub(super) struct Evaluator<'a, 'b> {
    pub(super) bits: usize,
    pub(super) unknowns: &'b Unknowns<'a>,
    pub(super) point: &'b [RBig],
    pub(super) constants: &'b mut Constants,
    pub(super) budget: &'b mut Budget,
    pub(super) extent: Extent,
    /// Whether the value of a variable was used.
    touched: bool,
    seen: Vec<Seen<'a>>,
    /// Angles with their cosines and sines, which are computed together.
    angles: Vec<(&'a Fraction, Complex, Complex)>,
    /// The current values of the indices of sums and products, from the outermost to the innermost.
    indices: Vec<RBig>,
}

type Evaluated = Result<Complex, Fail>;

impl From<EvalError> for Fail {
    fn from(_: EvalError) -> Self {
        Fail::Limit
    }
}

impl<'a, 'b> Evaluator<'a, 'b> {
    pub(super) fn new(
        bits: usize,
        unknowns: &'b Unknowns<'a>,
        point: &'b [RBig],
        constants: &'b mut Constants,
        budget: &'b mut Budget,
    ) -> Self {
        Evaluator {
            bits,
            unknowns,
            point,
            constants,
            budget,
            extent: Extent::default(),
            touched: false,
            seen: Vec::new(),
            angles: Vec::new(),
            indices: Vec::new(),
        }
    }

    /// Evaluates an expression.
    pub(super) fn fraction(&mut self, value: &'a Fraction) -> Evaluated {
        let numerator = self.poly(&value.numerator)?;
        if value.denominator_is_one() {
            return Ok(numerator);
        }
        let denominator = self.poly(&value.denominator)?;
        self.pay_little()?;
        let quotient = numerator.divide(&denominator, self.bits)?;
        self.note(&quotient);
        Ok(quotient)
    }

    /// Spends the steps of a sum, product, quotient or root.
    fn pay_little(&mut self) -> Result<(), Fail> {
        Ok(self.budget.spend(1 + self.bits / 256)?)
    }

    /// Spends the steps of a transcendental function.
    fn pay(&mut self) -> Result<(), Fail> {
        let bits = self.bits;
        Ok(self.budget.spend(8 + bits / 8 + bits * bits / 3072)?)
    }

    /// Adds the size of a value to the extent.
    fn note(&mut self, value: &Complex) {
        let (high, low) = sizes(value);
        self.extent.range += high.max(low);
    }

    fn poly(&mut self, value: &'a Poly) -> Evaluated {
        let mut sum = Complex::whole(0);
        let (mut total, mut longest) = (0, 0);
        let (mut highest, mut lowest) = (0, 0);
        for (monomial, coefficient) in &value.0 {
            self.pay_little()?;
            let length = length(coefficient);
            self.budget.spend(length / 4096)?;
            total += length;
            longest = longest.max(length);
            let term = self.term(monomial, coefficient)?;
            let (high, low) = sizes(&term);
            highest = high.max(highest);
            lowest = low.max(lowest);
            sum = sum.add(&term, self.bits)?;
        }
        self.extent.bits += total.min(COUNTED_TERMS * longest);
        self.extent.range += highest + lowest;
        if value.0.len() > 1 {
            self.note(&sum);
        }
        Ok(sum)
    }

    #[inline(never)]
    fn term(&mut self, monomial: &'a Monomial, coefficient: &RBig) -> Evaluated {
        let mut term: Complex = Ball::rational(coefficient, self.bits)?.into();
        // (-1)^a · (-1)^b = (-1)^(a+b): the exponents may be integers only together.
        let mut turns: Option<(Complex, bool)> = None;
        for (atom, exponent) in monomial {
            match exponent_of_minus_one(atom) {
                Some(power) => turns = Some(self.turned(turns, power, exponent)?),
                None => {
                    let factor = self.factor(atom, exponent)?;
                    self.pay_little()?;
                    term = term.multiply(&factor, self.bits)?;
                }
            }
        }
        match turns {
            None => Ok(term),
            Some((turns, fixed)) => self.signed(&term, &turns, fixed),
        }
    }

    /// Adds a part to the exponent of -1. Also returns whether the exponent is the same at all points.
    #[inline(never)]
    fn turned(
        &mut self,
        turns: Option<(Complex, bool)>,
        power: &'a Monomial,
        exponent: &RBig,
    ) -> Result<(Complex, bool), Fail> {
        let (part, fixed) = self.apart(|this| this.product(power))?;
        let times: Complex = Ball::rational(exponent, self.bits)?.into();
        let part = part.multiply(&times, self.bits)?;
        Ok(match turns {
            Some((sum, all)) => (sum.add(&part, self.bits)?, all && fixed),
            None => (part, fixed),
        })
    }

    #[inline(never)]
    fn signed(&mut self, term: &Complex, turns: &Complex, fixed: bool) -> Evaluated {
        self.pay()?;
        let sign = self.power(&Complex::whole(-1), turns, fixed)?;
        term.multiply(&sign, self.bits)
    }

    /// Returns a product of powers.
    fn product(&mut self, factors: &'a Monomial) -> Evaluated {
        let mut product = Complex::whole(1);
        for (atom, times) in factors {
            let factor = self.factor(atom, times)?;
            self.pay_little()?;
            product = product.multiply(&factor, self.bits)?;
        }
        Ok(product)
    }

    fn factor(&mut self, atom: &'a Atom, exponent: &RBig) -> Evaluated {
        let (base, fixed) = self.apart(|this| this.atom(atom))?;
        if exponent.is_one() {
            return Ok(base);
        }
        self.extent.bits += length(exponent);
        self.pay_little()?;
        if !fixed
            && !exponent.denominator().bit(0)
            && let Some(real) = base.real()
        {
            // An even root of a variable expression must be real.
            match real.sign() {
                Some(-1) => return Err(Fail::Undefined),
                None => return Err(Fail::Unclear),
                Some(_) => {}
            }
        }
        if !exponent.is_int() && exponent.denominator() > &UBig::from(3u8) {
            self.pay()?;
        }
        base.rational_power(exponent, self.bits, self.constants)
    }

    /// Evaluates a part separately. Returns its value and whether that is fixed (the same at all points).
    fn apart<T>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<T, Fail>,
    ) -> Result<(T, bool), Fail> {
        let before = std::mem::take(&mut self.touched);
        let value = part(self)?;
        let fixed = !self.touched;
        self.touched |= before;
        Ok((value, fixed))
    }

    fn atom(&mut self, atom: &'a Atom) -> Evaluated {
        match atom {
            Atom::Symbol(name) if name == "π" => {
                self.pay_little()?;
                Ok(self.constants.pi(self.bits)?.into())
            }
            Atom::Symbol(_) => self.unknown(atom),
            Atom::Integer(value) => {
                self.extent.bits += value.bit_len();
                let value = Ball::rational(&RBig::from(value.clone()), self.bits)?;
                Ok(value.into())
            }
            Atom::Imaginary => Ok(Complex::imaginary()),
            Atom::Power(..) | Atom::Call(..) | Atom::Sum(_) => {
                // Two levels, because a function is evaluated through the terms and factors of its argument.
                let depth = self.budget.depth();
                self.budget.enter()?;
                self.budget.enter()?;
                let value = self.compound(atom);
                self.budget.come_back_to(depth);
                value
            }
        }
    }

    fn unknown(&mut self, atom: &Atom) -> Evaluated {
        self.touched = true;
        let value = self.coordinate(atom).ok_or(Fail::Unknown)?;
        Ok(Ball::rational(value, self.bits)?.into())
    }

    /// Returns the value of a variable or an index.
    fn coordinate(&self, atom: &Atom) -> Option<&RBig> {
        if let Atom::Symbol(name) = atom
            && let Some(index) = name.strip_prefix(BOUND)
        {
            return self.indices.get(index.parse::<usize>().ok()?);
        }
        // Infinity, as the bound of a sum, is not a variable.
        if matches!(atom, Atom::Symbol(name) if name == "infinity") {
            return None;
        }
        self.point.get(self.unknowns.position(atom)?)
    }

    /// Evaluates a quotient of polynomials in variables exactly.
    fn exact(&mut self, value: &Fraction) -> Result<Option<RBig>, Fail> {
        let (top, bottom) = (
            self.exact_poly(&value.numerator)?,
            self.exact_poly(&value.denominator)?,
        );
        Ok(match (top, bottom) {
            (Some(top), Some(bottom)) if !bottom.is_zero() => Some(top / bottom),
            _ => None,
        })
    }

    fn exact_poly(&mut self, value: &Poly) -> Result<Option<RBig>, Fail> {
        let mut sum = RBig::ZERO;
        for (monomial, coefficient) in &value.0 {
            let mut term = coefficient.clone();
            for (atom, exponent) in monomial {
                let power = i64::try_from(exponent.numerator());
                let power = power.ok().filter(|n| (0..=MAX_EXACT_POWER).contains(n));
                let (Some(power), true, Some(base)) =
                    (power, exponent.is_int(), self.coordinate(atom))
                else {
                    return Ok(None);
                };
                let base = base.clone();
                for _ in 0..power {
                    self.budget.spend(1 + length(&term) / 1024)?;
                    term *= &base;
                }
                self.touched = true;
            }
            self.budget
                .spend(1 + (length(&sum) + length(&term)) / 1024)?;
            sum += term;
        }
        Ok(Some(sum))
    }

    /// Evaluates a sum or product whose bounds are integers.
    fn series(&mut self, is_sum: bool, [body, from, to]: [&'a Fraction; 3]) -> Evaluated {
        let whole = |value: Option<RBig>| {
            let value = value.filter(RBig::is_int).ok_or(Fail::Undefined)?;
            i64::try_from(value.numerator()).map_err(|_| Fail::Unknown)
        };
        let from = whole(self.exact(from)?)?;
        let to = whole(self.exact(to)?)?;
        let count = to.saturating_sub(from).saturating_add(1);
        if count < 0 {
            return Err(Fail::Undefined);
        }
        if count > MAX_TERMS {
            return Err(Fail::Unknown);
        }
        let mut total = Complex::whole(i64::from(!is_sum));
        for k in from..=to {
            // Parts that contain the index have different values each time.
            let seen = std::mem::take(&mut self.seen);
            let angles = std::mem::take(&mut self.angles);
            self.indices.push(RBig::from(k));
            let term = self.fraction(body);
            self.indices.pop();
            (self.seen, self.angles) = (seen, angles);
            let term = term?;
            self.pay_little()?;
            total = if is_sum {
                total.add(&term, self.bits)?
            } else {
                total.multiply(&term, self.bits)?
            };
        }
        Ok(total)
    }

    fn compound(&mut self, atom: &'a Atom) -> Evaluated {
        self.budget.spend(self.seen.len() / 16)?;
        if let Some(seen) = self.seen.iter().find(|seen| seen.atom == atom) {
            self.touched |= !seen.fixed;
            return Ok(seen.value.clone());
        }
        let (value, fixed) = self.apart(|this| this.compound_anew(atom))?;
        self.note(&value);
        self.seen.push(Seen {
            atom,
            value: value.clone(),
            fixed,
        });
        Ok(value)
    }

    fn compound_anew(&mut self, atom: &'a Atom) -> Evaluated {
        match atom {
            Atom::Sum(inner) => self.poly(inner),
            Atom::Power(base, exponent) => {
                let (exponent, fixed_exponent) = self.apart(|this| this.product(exponent))?;
                self.note(&exponent);
                self.pay()?;
                match &**base {
                    Base::Euler => exponent.exponential(self.bits, self.constants),
                    Base::Atom(base) => {
                        let (base, fixed_base) = self.apart(|this| this.atom(base))?;
                        self.power(&base, &exponent, fixed_base && fixed_exponent)
                    }
                }
            }
            Atom::Call(name, arguments) if is_known(name, arguments.len()) => {
                if let ("sum" | "prod", [body, from, to]) = (name.as_str(), arguments.as_slice()) {
                    return self.series(name == "sum", [body, from, to]);
                }
                // The argument is computed exactly if possible: near an integer, no precision can tell on which
                // side it is.
                if let ("floor" | "ceil", [argument]) = (name.as_str(), arguments.as_slice())
                    && let Some(value) = self.exact(argument)?
                {
                    let whole = match name.as_str() {
                        "floor" => value.floor(),
                        _ => value.ceil(),
                    };
                    return Ok(Ball::rational(&RBig::from(whole), self.bits)?.into());
                }
                let (values, fixed) = self.apart(|this| {
                    let values = arguments.iter().map(|argument| this.fraction(argument));
                    values.collect::<Result<Vec<_>, _>>()
                })?;
                self.pay()?;
                self.call(name, arguments, &values, fixed)
            }
            _ => self.unknown(atom),
        }
    }

    /// Returns a power. If the base is a negative number, the exponent must be an integer or both must be
    /// constant.
    fn power(&mut self, base: &Complex, exponent: &Complex, fixed: bool) -> Evaluated {
        if let Some(whole) = whole(exponent) {
            return base.power(whole, self.bits, self.constants);
        }
        if base.is_zero() {
            return match exponent.real().map(Ball::sign) {
                Some(Some(1)) => Ok(Complex::whole(0)),
                Some(None) => Err(Fail::Unclear),
                _ => Err(Fail::Undefined),
            };
        }
        match base.real().map(Ball::sign) {
            Some(Some(1)) => {}
            Some(None) => return Err(Fail::Unclear),
            _ if fixed => {}
            Some(Some(_)) => return Err(Fail::Undefined),
            None => {}
        }
        base.principal_power(exponent, self.bits, self.constants)
    }

    /// Evaluates a function. `fixed`: the arguments are constants.
    fn call(
        &mut self,
        name: &str,
        written: &'a [Fraction],
        arguments: &[Complex],
        fixed: bool,
    ) -> Evaluated {
        let bits = self.bits;
        if let ([x], [written]) = (arguments, written) {
            match name {
                "exp" => return x.exponential(bits, self.constants),
                "sin" | "cos" => {
                    self.budget.spend(self.angles.len() / 16)?;
                    let known = self.angles.iter().find(|(angle, ..)| *angle == written);
                    let (cosine, sine) = match known {
                        Some((_, cosine, sine)) => (cosine.clone(), sine.clone()),
                        None => {
                            let (cosine, sine) = x.cos_sin(bits, self.constants)?;
                            let pair = (cosine.clone(), sine.clone());
                            self.angles.push((written, cosine, sine));
                            pair
                        }
                    };
                    return Ok(if name == "sin" { sine } else { cosine });
                }
                "abs" => return Ok(x.absolute(bits)?.into()),
                "ln" => {
                    if !fixed && x.is_real() && x.re.sign() != Some(1) {
                        return Err(outside(x.re.sign()));
                    }
                    return x.logarithm(bits, self.constants);
                }
                _ => {}
            }
        }
        let reals: Option<Vec<Ball>> = arguments.iter().map(|x| x.real().cloned()).collect();
        let reals = reals.ok_or(Fail::Unknown)?;
        Ok(calls::real(name, &reals, bits, self.constants, self.budget)?.into())
    }
}

/// Returns the exponent of a power of -1 whose exponent is not a number.
fn exponent_of_minus_one(atom: &Atom) -> Option<&Monomial> {
    match atom {
        Atom::Power(base, exponent) => match &**base {
            Base::Atom(Atom::Call(name, _)) if name == "minus_one" => Some(exponent),
            _ => None,
        },
        _ => None,
    }
}

/// Returns by how many bits the nonzero parts of a value exceed 1 and fall below 1.
fn sizes(value: &Complex) -> (i64, i64) {
    let (mut high, mut low) = (0, 0);
    for part in [&value.re, &value.im] {
        if matches!(part.sign(), Some(-1 | 1)) {
            high = part.top().max(high);
            low = (-part.top()).max(low);
        }
    }
    (high, low)
}

/// Returns the length of a rational number in bits.
fn length(value: &RBig) -> usize {
    value.numerator().bit_len() + value.denominator().bit_len()
}

/// Returns the value as a small integer, if it is one.
fn whole(value: &Complex) -> Option<i64> {
    let whole = value.real()?.as_whole()?;
    i64::try_from(whole).ok()
}

/// Returns the failure for the logarithm of a number with this sign.
fn outside(sign: Option<i8>) -> Fail {
    match sign {
        None => Fail::Unclear,
        Some(_) => Fail::Undefined,
    }
}
