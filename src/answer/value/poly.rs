//! Polynomials with rational coefficients over atoms: variables, constants such as π, roots of integers, and
//! everything else that has no simpler form. Exponents may be fractions.
//!
//! Every rewriting is an identity on the common domain of both sides. Equal canonical forms therefore prove
//! equality, but different ones do not disprove it.

use dashu_int::UBig;
use dashu_ratio::RBig;
use smol_str::SmolStr;

use super::fraction::Fraction;
use super::number;
use crate::answer::budget::{Budget, EvalError};

/// An indivisible factor. The order determines that of monomials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// A variable, or a constant of which only the name is known. π is one.
    Symbol(SmolStr),
    /// An integer above 1 that is not a power. Exponents are between 0 and 1.
    Integer(UBig),
    /// The imaginary unit. Its exponent is 1.
    Imaginary,
    /// `base^(monomial)`, for an exponent that is not a number.
    Power(Box<Base>, Monomial),
    /// A function of arguments in canonical form.
    Call(SmolStr, Vec<Fraction>),
    /// A polynomial under a root. Exponents are between 0 and 1.
    Sum(Poly),
}

/// The base of a power whose exponent is not a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    /// Euler's number.
    Euler,
    /// Anything else.
    Atom(Atom),
}

/// Atoms with their exponents, sorted. No exponent is 0.
pub(crate) type Monomial = Vec<(Atom, RBig)>;

/// Terms with their coefficients, in the order of the monomials. No coefficient is 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Poly(pub(crate) Vec<(Monomial, RBig)>);

/// The maximum number of terms of a polynomial.
const MAX_TERMS: usize = 600;

impl Poly {
    /// Returns a constant.
    pub(crate) fn constant(value: RBig) -> Self {
        Poly::term(Monomial::new(), value)
    }

    /// Returns a polynomial of one term.
    pub(crate) fn term(monomial: Monomial, coefficient: RBig) -> Self {
        if coefficient.is_zero() {
            return Poly::default();
        }
        Poly(vec![(monomial, coefficient)])
    }

    /// Returns the sum of terms in any order, combining like terms.
    ///
    /// # Errors
    ///
    /// Returns [`EvalError::LimitExceeded`] if too many terms remain.
    pub(super) fn collect(
        mut terms: Vec<(Monomial, RBig)>,
        budget: &mut Budget,
    ) -> Result<Poly, EvalError> {
        let ordered = terms.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ordered {
            let rounds = usize::BITS - terms.len().leading_zeros();
            budget.spend(terms.len() * rounds as usize)?;
            terms.sort_by(|(a, _), (b, _)| a.cmp(b));
            let mut paid = Ok(());
            terms.dedup_by(|(monomial, coefficient), (before, sum)| {
                let like = monomial == before;
                if like && paid.is_ok() {
                    paid = budget.spend_bits(number::bits(coefficient) + number::bits(sum));
                    *sum += std::mem::take(coefficient);
                }
                like
            });
            paid?;
        }
        terms.retain(|(_, coefficient)| !coefficient.is_zero());
        if terms.len() > MAX_TERMS {
            return Err(EvalError::LimitExceeded);
        }
        Ok(Poly(terms))
    }

    /// Returns an atom.
    pub(crate) fn atom(atom: Atom) -> Self {
        Poly::term(vec![(atom, RBig::ONE)], RBig::ONE)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of a polynomial without atoms.
    pub(crate) fn as_constant(&self) -> Option<RBig> {
        match self.0.as_slice() {
            [] => Some(RBig::ZERO),
            [(monomial, coefficient)] if monomial.is_empty() => Some(coefficient.clone()),
            _ => None,
        }
    }

    /// Returns whether it is 1.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.0.as_slice(), [(monomial, coefficient)] if monomial.is_empty() && coefficient.is_one())
    }

    /// Returns the term, if there is exactly one.
    pub(crate) fn as_term(&self) -> Option<(&Monomial, &RBig)> {
        match self.0.as_slice() {
            [(monomial, coefficient)] => Some((monomial, coefficient)),
            _ => None,
        }
    }

    pub(crate) fn add(&self, other: &Poly, budget: &mut Budget) -> Result<Poly, EvalError> {
        self.combine(other, false, budget)
    }

    pub(crate) fn subtract(&self, other: &Poly, budget: &mut Budget) -> Result<Poly, EvalError> {
        self.combine(other, true, budget)
    }

    /// Returns `self + other`, or `self - other` if `minus`, by merging the sorted terms.
    fn combine(&self, other: &Poly, minus: bool, budget: &mut Budget) -> Result<Poly, EvalError> {
        use std::cmp::Ordering;
        // All terms are copied, whether they change or not.
        budget.spend((self.0.len() + other.0.len()) / 8)?;
        let mut sum = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let signed = |(monomial, coefficient): &(Monomial, RBig)| {
            let coefficient = coefficient.clone();
            (
                monomial.clone(),
                if minus { -coefficient } else { coefficient },
            )
        };
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match order {
                Ordering::Less => sum.extend(left.next().cloned()),
                Ordering::Greater => {
                    if let Some(term) = right.next() {
                        budget.spend_bits(number::bits(&term.1))?;
                        sum.push(signed(term));
                    }
                }
                Ordering::Equal => {
                    if let (Some((monomial, a)), Some((_, b))) = (left.next(), right.next()) {
                        budget.spend_bits(number::bits(b))?;
                        let total = if minus { a - b } else { a + b };
                        if !total.is_zero() {
                            sum.push((monomial.clone(), total));
                        }
                    }
                }
            }
        }
        if sum.len() > MAX_TERMS {
            return Err(EvalError::LimitExceeded);
        }
        Ok(Poly(sum))
    }

    pub(crate) fn negate(&self) -> Poly {
        Poly(
            self.0
                .iter()
                .map(|(monomial, coefficient)| (monomial.clone(), -coefficient.clone()))
                .collect(),
        )
    }

    pub(crate) fn scale(&self, factor: &RBig, budget: &mut Budget) -> Result<Poly, EvalError> {
        if factor.is_zero() {
            return Ok(Poly::default());
        }
        budget.spend(self.0.len() / 8)?;
        if factor.is_one() {
            return Ok(self.clone());
        }
        let mut product = Vec::with_capacity(self.0.len());
        for (monomial, coefficient) in &self.0 {
            budget.spend_bits(number::bits(coefficient) + number::bits(factor))?;
            product.push((monomial.clone(), number::multiply(coefficient, factor)));
        }
        Ok(Poly(product))
    }

    pub(crate) fn multiply(&self, other: &Poly, budget: &mut Budget) -> Result<Poly, EvalError> {
        for (constant, poly) in [(self, other), (other, self)] {
            match constant.0.as_slice() {
                [] => return Ok(Poly::default()),
                [(monomial, factor)] if monomial.is_empty() => return poly.scale(factor, budget),
                _ => {}
            }
        }
        let product = budget.nested(|budget| self.products(other, budget))?;
        Poly::collect(product, budget)
    }

    /// Returns the products of all pairs of terms, without combining like terms.
    fn products(
        &self,
        other: &Poly,
        budget: &mut Budget,
    ) -> Result<Vec<(Monomial, RBig)>, EvalError> {
        let most = (self.0.len() * other.0.len()).min(4 * MAX_TERMS);
        let mut product: Vec<(Monomial, RBig)> = Vec::with_capacity(most);
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                budget.spend_bits(number::bits(a) + number::bits(b))?;
                budget.spend(weight(left) + weight(right))?;
                let (monomial, factor, extra) = multiply_monomials(left, right, budget)?;
                let mut coefficient = number::multiply(a, b);
                if !factor.is_one() {
                    coefficient = number::multiply(&coefficient, &factor);
                }
                if extra.is_empty() {
                    product.push((monomial, coefficient));
                } else {
                    let mut term = Poly::term(monomial, coefficient);
                    for poly in extra {
                        term = term.multiply(&poly, budget)?;
                    }
                    product.extend(term.0);
                }
            }
            // Combine like terms before there are too many to keep.
            if product.len() > 4 * MAX_TERMS {
                product = Poly::collect(product, budget)?.0;
            }
        }
        Ok(product)
    }

    pub(crate) fn power(&self, exponent: u32, budget: &mut Budget) -> Result<Poly, EvalError> {
        if let Some(constant) = self.as_constant() {
            return Ok(Poly::constant(number::power(
                &constant,
                exponent.into(),
                budget,
            )?));
        }
        let mut result = Poly::constant(RBig::ONE);
        let mut square = self.clone();
        let mut left = exponent;
        while left > 0 {
            if left & 1 == 1 {
                result = result.multiply(&square, budget)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.multiply(&square, budget)?;
            }
        }
        Ok(result)
    }

    /// Returns the greatest positive rational whose removal leaves integer coefficients without a common
    /// factor.
    pub(crate) fn content(&self, budget: &mut Budget) -> Result<RBig, EvalError> {
        let mut numerator = UBig::ZERO;
        let mut denominator = UBig::ONE;
        for (_, coefficient) in &self.0 {
            numerator = number::gcd(&numerator.into(), coefficient.numerator(), budget)?;
            let common = number::gcd(
                &denominator.clone().into(),
                &coefficient.denominator().clone().into(),
                budget,
            )?;
            denominator = denominator / common * coefficient.denominator();
        }
        Ok(RBig::from_parts(numerator.into(), denominator))
    }

    /// Returns the greatest monomial and its coefficient.
    pub(crate) fn leading(&self) -> Option<(&Monomial, &RBig)> {
        self.0
            .last()
            .map(|(monomial, coefficient)| (monomial, coefficient))
    }

    /// Returns the quotient, if `other` divides this polynomial without remainder.
    pub(crate) fn divide(
        &self,
        other: &Poly,
        budget: &mut Budget,
    ) -> Result<Option<Poly>, EvalError> {
        let Some((lead, coefficient)) = other.leading() else {
            return Err(EvalError::Unsupported);
        };
        let mut rest = self.clone();
        let mut quotient = Vec::new();
        let mut rounds = 0;
        while let Some((monomial, value)) = rest.leading() {
            rounds += 1;
            if rounds > 60 {
                return Ok(None);
            }
            let Some(monomial) = divide_monomials(monomial, lead) else {
                return Ok(None);
            };
            let value = value / coefficient;
            budget.spend_bits(number::bits(&value))?;
            let term = Poly::term(monomial.clone(), value.clone());
            let before = rest.leading().map(|(m, _)| m.clone());
            rest = rest.subtract(&term.multiply(other, budget)?, budget)?;
            // Atoms with relations (roots) may reproduce a monomial; then the division fails.
            if rest.leading().map(|(m, _)| m.clone()) >= before {
                return Ok(None);
            }
            quotient.push((monomial, value));
        }
        Poly::collect(quotient, budget).map(Some)
    }

    /// Returns the cost of comparing and copying.
    pub(super) fn weight(&self) -> usize {
        let terms = self.0.iter();
        terms.map(|(monomial, _)| 1 + weight(monomial)).sum()
    }

    /// Returns whether it contains no variable.
    pub(crate) fn is_constant(&self) -> bool {
        let mut atoms = self.0.iter().flat_map(|(monomial, _)| monomial);
        atoms.all(|(atom, _)| atom.is_constant())
    }

    /// Collects the names of the variables.
    pub(crate) fn symbols(&self, out: &mut std::collections::BTreeSet<SmolStr>) {
        for (monomial, _) in &self.0 {
            for (atom, _) in monomial {
                atom.symbols(out);
            }
        }
    }
}

impl Atom {
    /// Returns whether it contains no variable.
    fn is_constant(&self) -> bool {
        match self {
            Atom::Symbol(name) => name == "π",
            Atom::Integer(_) | Atom::Imaginary => true,
            Atom::Power(base, exponent) => {
                let base = match &**base {
                    Base::Euler => true,
                    Base::Atom(base) => base.is_constant(),
                };
                base && exponent.iter().all(|(atom, _)| atom.is_constant())
            }
            Atom::Call(_, arguments) => arguments.iter().all(Fraction::is_constant),
            Atom::Sum(poly) => poly.is_constant(),
        }
    }

    fn symbols(&self, out: &mut std::collections::BTreeSet<SmolStr>) {
        match self {
            Atom::Symbol(name) if name == "π" => {}
            Atom::Symbol(name) => {
                out.insert(name.clone());
            }
            Atom::Integer(_) | Atom::Imaginary => {}
            Atom::Power(base, exponent) => {
                if let Base::Atom(atom) = &**base {
                    atom.symbols(out);
                }
                for (atom, _) in exponent {
                    atom.symbols(out);
                }
            }
            Atom::Call(_, arguments) => {
                for argument in arguments {
                    argument.symbols(out);
                }
            }
            Atom::Sum(poly) => poly.symbols(out),
        }
    }
}

/// Returns `left / right`, if no exponent becomes negative.
fn divide_monomials(left: &Monomial, right: &Monomial) -> Option<Monomial> {
    let mut quotient = left.clone();
    for (atom, exponent) in right {
        let index = quotient.iter().position(|(a, _)| a == atom)?;
        let rest = &quotient[index].1 - exponent;
        if rest.is_zero() {
            quotient.remove(index);
        } else if number::is_negative(&rest) {
            return None;
        } else {
            quotient[index].1 = rest;
        }
    }
    Some(quotient)
}

/// Returns the cost of comparing and copying a monomial: the number of atoms, including nested ones.
fn weight(monomial: &Monomial) -> usize {
    monomial.iter().map(|(atom, _)| 1 + inside(atom)).sum()
}

/// Returns the size of the content of an atom.
fn inside(atom: &Atom) -> usize {
    match atom {
        Atom::Symbol(_) | Atom::Integer(_) | Atom::Imaginary => 0,
        Atom::Power(base, exponent) => {
            let base = match &**base {
                Base::Euler => 0,
                Base::Atom(base) => inside(base),
            };
            base + weight(exponent)
        }
        Atom::Sum(inner) => inner.weight(),
        Atom::Call(_, arguments) => arguments.iter().map(Fraction::weight).sum(),
    }
}

/// A product of monomials: the remaining monomial, a rational factor, and polynomials that arise from integer
/// powers of atoms.
type Product = (Monomial, RBig, Vec<Poly>);

fn multiply_monomials(
    left: &Monomial,
    right: &Monomial,
    budget: &mut Budget,
) -> Result<Product, EvalError> {
    let mut product: Monomial = Vec::with_capacity(left.len() + right.len());
    let mut factor = RBig::ONE;
    let mut extra = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        let order = match (left.get(i), right.get(j)) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        match order {
            std::cmp::Ordering::Less => {
                product.push(left[i].clone());
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                product.push(right[j].clone());
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                let atom = &left[i].0;
                let exponent = &left[i].1 + &right[j].1;
                reduce(
                    atom,
                    exponent,
                    &mut product,
                    &mut factor,
                    &mut extra,
                    budget,
                )?;
                i += 1;
                j += 1;
            }
        }
    }
    Ok((product, factor, extra))
}

/// Multiplies the canonical form of `atom^exponent` into a product.
fn reduce(
    atom: &Atom,
    exponent: RBig,
    product: &mut Monomial,
    factor: &mut RBig,
    extra: &mut Vec<Poly>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    if exponent.is_zero() {
        return Ok(());
    }
    let keep = |product: &mut Monomial, exponent: RBig| {
        if !exponent.is_zero() {
            product.push((atom.clone(), exponent));
        }
    };
    match atom {
        Atom::Symbol(_) | Atom::Power(..) => keep(product, exponent),
        Atom::Integer(base) => {
            let floor = exponent.floor();
            let whole = i64::try_from(&floor).map_err(|_| EvalError::LimitExceeded)?;
            let base = RBig::from(base.clone());
            *factor *= number::power(&base, whole, budget)?;
            keep(product, exponent - RBig::from(floor));
        }
        Atom::Imaginary => {
            let power = number::small(&exponent)
                .ok_or(EvalError::Unsupported)?
                .rem_euclid(4);
            if power >= 2 {
                *factor *= number::whole(-1);
            }
            if power % 2 == 1 {
                keep(product, RBig::ONE);
            }
        }
        Atom::Sum(poly) => {
            let floor = exponent.floor();
            let whole = u32::try_from(&floor).map_err(|_| EvalError::LimitExceeded)?;
            if whole > 0 {
                extra.push(poly.power(whole, budget)?);
            }
            keep(product, exponent - RBig::from(floor));
        }
        Atom::Call(name, arguments) => {
            let whole = number::small(&exponent).filter(|&n| n >= 2);
            match (name.as_str(), arguments.as_slice(), whole) {
                // sin² = 1 - cos².
                ("sin", [_], Some(n)) => {
                    let half = u32::try_from(n / 2).map_err(|_| EvalError::LimitExceeded)?;
                    let cosine = Atom::Call("cos".into(), arguments.clone());
                    let square = Poly::term(vec![(cosine, number::whole(2))], number::whole(-1));
                    let square = square.add(&Poly::constant(RBig::ONE), budget)?;
                    extra.push(square.power(half, budget)?);
                    keep(product, number::whole(n % 2));
                }
                // |x|² = x².
                ("abs", [argument], Some(n)) if argument.denominator_is_one() => {
                    let even = u32::try_from(n - n % 2).map_err(|_| EvalError::LimitExceeded)?;
                    extra.push(argument.numerator.power(even, budget)?);
                    keep(product, number::whole(n % 2));
                }
                _ => keep(product, exponent),
            }
        }
    }
    Ok(())
}
