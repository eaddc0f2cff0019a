//! Polynomials with rational coefficients over atoms: variables, constants such as π, roots of
//! integers, and whatever else has no simpler form. Exponents may be fractions.
//!
//! Every rewriting here is an identity on the common domain of both sides, so that equal normal
//! forms prove equality; different ones only fail to.

use std::collections::BTreeMap;

use dashu_int::UBig;
use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::number;
use crate::answer::budget::{Budget, Stop};

/// Something that is not taken apart any further. The order is that of monomials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// A variable, or a constant that nothing is known of but its name. π is one.
    Symbol(String),
    /// An integer above 1 that is no power; exponents lie between 0 and 1.
    Integer(UBig),
    /// The imaginary unit; its exponent is 1.
    Imaginary,
    /// `base^(monomial)`, of an exponent that is not a number.
    Power(Box<Base>, Monomial),
    /// A function of arguments in normal form.
    Call(String, Vec<Fraction>),
    /// A polynomial under a root; exponents lie between 0 and 1.
    Sum(Poly),
}

/// What is raised to a power that is not a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    /// Euler's number.
    Euler,
    /// Anything else.
    Atom(Atom),
}

/// Atoms with their exponents, sorted, none with exponent 0.
pub(crate) type Monomial = Vec<(Atom, RBig)>;

/// Terms with their coefficients, none of them 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Poly(pub(crate) BTreeMap<Monomial, RBig>);

/// Most terms of a polynomial.
const MAX_TERMS: usize = 600;

impl Poly {
    /// A constant.
    pub(crate) fn constant(value: RBig) -> Self {
        Poly::term(Monomial::new(), value)
    }

    /// One term.
    pub(crate) fn term(monomial: Monomial, coefficient: RBig) -> Self {
        let mut terms = BTreeMap::new();
        if !coefficient.is_zero() {
            terms.insert(monomial, coefficient);
        }
        Poly(terms)
    }

    /// An atom by itself.
    pub(crate) fn atom(atom: Atom) -> Self {
        Poly::term(vec![(atom, RBig::ONE)], RBig::ONE)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a polynomial without atoms.
    pub(crate) fn as_constant(&self) -> Option<RBig> {
        match self.0.len() {
            0 => Some(RBig::ZERO),
            1 => {
                let (monomial, coefficient) = self.0.first_key_value()?;
                monomial.is_empty().then(|| coefficient.clone())
            }
            _ => None,
        }
    }

    /// The one term of a polynomial that has just one.
    pub(crate) fn as_term(&self) -> Option<(&Monomial, &RBig)> {
        if self.0.len() == 1 {
            self.0.first_key_value()
        } else {
            None
        }
    }

    fn insert(&mut self, monomial: Monomial, coefficient: RBig) -> Result<(), Stop> {
        use std::collections::btree_map::Entry;
        if coefficient.is_zero() {
            return Ok(());
        }
        match self.0.entry(monomial) {
            Entry::Vacant(entry) => {
                entry.insert(coefficient);
            }
            Entry::Occupied(mut entry) => {
                let sum = entry.get() + coefficient;
                if sum.is_zero() {
                    entry.remove();
                } else {
                    entry.insert(sum);
                }
            }
        }
        if self.0.len() > MAX_TERMS {
            return Err(Stop::Limit);
        }
        Ok(())
    }

    pub(crate) fn add(&self, other: &Poly, budget: &mut Budget) -> Result<Poly, Stop> {
        let mut sum = self.clone();
        for (monomial, coefficient) in &other.0 {
            budget.spend_bits(number::bits(coefficient))?;
            sum.insert(monomial.clone(), coefficient.clone())?;
        }
        Ok(sum)
    }

    pub(crate) fn negate(&self) -> Poly {
        Poly(
            self.0
                .iter()
                .map(|(monomial, coefficient)| (monomial.clone(), -coefficient.clone()))
                .collect(),
        )
    }

    pub(crate) fn scale(&self, factor: &RBig, budget: &mut Budget) -> Result<Poly, Stop> {
        let mut product = Poly::default();
        for (monomial, coefficient) in &self.0 {
            budget.spend_bits(number::bits(coefficient) + number::bits(factor))?;
            product.insert(monomial.clone(), coefficient * factor)?;
        }
        Ok(product)
    }

    pub(crate) fn multiply(&self, other: &Poly, budget: &mut Budget) -> Result<Poly, Stop> {
        budget.enter()?;
        let mut product = Poly::default();
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                budget.spend_bits(number::bits(a) + number::bits(b))?;
                budget.spend(weight(left) + weight(right))?;
                let (monomial, factor, extra) = multiply_monomials(left, right, budget)?;
                let coefficient = a * b * factor;
                if extra.is_empty() {
                    product.insert(monomial, coefficient)?;
                } else {
                    let mut term = Poly::term(monomial, coefficient);
                    for poly in extra {
                        term = term.multiply(&poly, budget)?;
                    }
                    for (monomial, coefficient) in term.0 {
                        product.insert(monomial, coefficient)?;
                    }
                }
            }
        }
        budget.leave();
        Ok(product)
    }

    pub(crate) fn power(&self, exponent: u32, budget: &mut Budget) -> Result<Poly, Stop> {
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

    /// Splits off the greatest positive rational that leaves whole coefficients without a common
    /// factor.
    pub(crate) fn content(&self, budget: &mut Budget) -> Result<RBig, Stop> {
        let mut numerator = UBig::ZERO;
        let mut denominator = UBig::ONE;
        for coefficient in self.0.values() {
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

    /// The coefficient of the greatest monomial.
    pub(crate) fn leading(&self) -> Option<(&Monomial, &RBig)> {
        self.0.last_key_value()
    }

    /// The quotient where `other` divides this polynomial without a rest.
    pub(crate) fn divide(&self, other: &Poly, budget: &mut Budget) -> Result<Option<Poly>, Stop> {
        let Some((lead, coefficient)) = other.leading() else {
            return Err(Stop::Unknown);
        };
        let mut rest = self.clone();
        let mut quotient = Poly::default();
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
            rest = rest.add(&term.multiply(other, budget)?.negate(), budget)?;
            // Atoms with relations (roots) may bring a monomial back: then it does not divide.
            if rest.leading().map(|(m, _)| m.clone()) >= before {
                return Ok(None);
            }
            quotient.insert(monomial, value)?;
        }
        Ok(Some(quotient))
    }

    /// Names of the variables, in order.
    pub(crate) fn symbols(&self, out: &mut std::collections::BTreeSet<String>) {
        for monomial in self.0.keys() {
            for (atom, _) in monomial {
                atom.symbols(out);
            }
        }
    }
}

impl Atom {
    fn symbols(&self, out: &mut std::collections::BTreeSet<String>) {
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

/// `left / right`, where every exponent stays at or above zero.
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

/// How much work a monomial is to compare and copy: its atoms with everything inside them.
fn weight(monomial: &Monomial) -> usize {
    let terms = |poly: &Poly| poly.0.keys().map(|term| 1 + weight(term)).sum::<usize>();
    let atom = |atom: &Atom| match atom {
        Atom::Symbol(_) | Atom::Integer(_) | Atom::Imaginary => 0,
        Atom::Power(_, exponent) => weight(exponent),
        Atom::Sum(inner) => terms(inner),
        Atom::Call(_, arguments) => arguments
            .iter()
            .map(|x| terms(&x.numerator) + terms(&x.denominator))
            .sum(),
    };
    monomial.iter().map(|(factor, _)| 1 + atom(factor)).sum()
}

/// A product of monomials: what remains, a rational factor, and polynomials that whole powers of
/// atoms have turned into.
type Product = (Monomial, RBig, Vec<Poly>);

fn multiply_monomials(
    left: &Monomial,
    right: &Monomial,
    budget: &mut Budget,
) -> Result<Product, Stop> {
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

/// Puts `atom^exponent` into its normal form.
fn reduce(
    atom: &Atom,
    exponent: RBig,
    product: &mut Monomial,
    factor: &mut RBig,
    extra: &mut Vec<Poly>,
    budget: &mut Budget,
) -> Result<(), Stop> {
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
            let whole = i64::try_from(&floor).map_err(|_| Stop::Limit)?;
            let base = RBig::from(base.clone());
            *factor *= number::power(&base, whole, budget)?;
            keep(product, exponent - RBig::from(floor));
        }
        Atom::Imaginary => {
            let power = number::small(&exponent).ok_or(Stop::Unknown)?.rem_euclid(4);
            if power >= 2 {
                *factor *= number::whole(-1);
            }
            if power % 2 == 1 {
                keep(product, RBig::ONE);
            }
        }
        Atom::Sum(poly) => {
            let floor = exponent.floor();
            let whole = u32::try_from(&floor).map_err(|_| Stop::Limit)?;
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
                    let half = u32::try_from(n / 2).map_err(|_| Stop::Limit)?;
                    let cosine = Atom::Call("cos".into(), arguments.clone());
                    let square = Poly::term(vec![(cosine, number::whole(2))], number::whole(-1));
                    let square = square.add(&Poly::constant(RBig::ONE), budget)?;
                    extra.push(square.power(half, budget)?);
                    keep(product, number::whole(n % 2));
                }
                // |x|² = x².
                ("abs", [argument], Some(n)) if argument.denominator_is_one() => {
                    let even = u32::try_from(n - n % 2).map_err(|_| Stop::Limit)?;
                    extra.push(argument.numerator.power(even, budget)?);
                    keep(product, number::whole(n % 2));
                }
                _ => keep(product, exponent),
            }
        }
    }
    Ok(())
}
