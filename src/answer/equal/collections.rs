//! Compares lists, sets, tuples, matrices and cases by their items.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Compared, Comparison, Tolerance};
use crate::answer::value::{Equation, Fraction, Scalar, Value, bare};

impl Comparison<'_> {
    pub(super) fn matrices(&mut self, a: &[Vec<Scalar>], b: &[Vec<Scalar>]) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (left, right) in a.iter().zip(b) {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (x, y) in left.iter().zip(right) {
                self.budget.spend(1)?;
                if !self.scalars(x, y)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(super) fn in_order(&mut self, a: &[Value], b: &[Value]) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (x, y) in a.iter().zip(b) {
            self.budget.spend(1)?;
            if !self.values(x, y)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Compares items in any order, counting repeats. If only one side has names, only the values are compared.
    pub(super) fn lists(&mut self, a: &[Value], b: &[Value]) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        // Names on one side only, all different: the order determines the assignment.
        if a.len() > 1 && distinct_names(a) != distinct_names(b) && only_names_of_one_stem(a, b) {
            let (a, b) = (stripped(a), stripped(b));
            return self.in_order(&a, &b);
        }
        self.matched(a, b, form, Self::values)
    }

    /// Compares items in any order, ignoring repeats. With a tolerance, both sides must also have the same
    /// number of distinct items.
    pub(super) fn sets(&mut self, a: &[Value], b: &[Value]) -> Compared {
        if !self.included(a, b)? || !self.swapped(|this| this.included(b, a))? {
            return Ok(false);
        }
        if self.options.tolerance == Tolerance::Exact {
            return Ok(true);
        }
        let (a, b) = (distinct(a), distinct(b));
        self.matched(&a, &b, form, Self::values)
    }

    fn included(&mut self, a: &[Value], b: &[Value]) -> Compared {
        let forms: BTreeSet<Form<'_>> = b.iter().filter_map(form).collect();
        'next: for x in a {
            self.budget.spend(2)?;
            if form(x).is_some_and(|form| forms.contains(&form)) {
                continue;
            }
            for y in b {
                if self.values(x, y)? {
                    continue 'next;
                }
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Returns whether the items of two sides can be matched one to one.
    ///
    /// With a tolerance, an item may fit several others. Matches are then reassigned along augmenting paths
    /// until every item has a partner.
    ///
    /// `form` is a key that is equal only for items that are certainly equal.
    pub(super) fn matched<'v, T, F: Ord>(
        &mut self,
        a: &'v [T],
        b: &'v [T],
        form: impl Fn(&'v T) -> Option<F>,
        mut fits: impl FnMut(&mut Self, &T, &T) -> Compared,
    ) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        // The partner of each item on the right.
        let mut taken: Vec<Option<usize>> = vec![None; b.len()];
        let mut known: Vec<Option<bool>> = Vec::new();
        // Items with the same form match without a comparison.
        let mut forms: BTreeMap<F, Vec<usize>> = BTreeMap::new();
        for (j, y) in b.iter().enumerate().rev() {
            self.budget.spend(1)?;
            if let Some(form) = form(y) {
                forms.entry(form).or_default().push(j);
            }
        }
        let mut rest = Vec::new();
        for (i, x) in a.iter().enumerate() {
            self.budget.spend(1)?;
            let same = form(x).and_then(|form| forms.get_mut(&form)?.pop());
            match same {
                Some(j) => taken[j] = Some(i),
                None => rest.push((i, x)),
            }
        }
        'next: for (i, x) in rest {
            for (j, y) in b.iter().enumerate() {
                self.budget.spend(1)?;
                if taken[j].is_none() && fits(self, x, y)? {
                    taken[j] = Some(i);
                    continue 'next;
                }
            }
            if self.options.tolerance == Tolerance::Exact {
                return Ok(false);
            }
            self.budget.spend(a.len() * b.len())?;
            known.resize(a.len() * b.len(), None);
            // The item on the left from which each item on the right was reached.
            let mut reached: Vec<Option<usize>> = vec![None; b.len()];
            let mut open = vec![i];
            let mut end = None;
            'search: while let Some(from) = open.pop() {
                for (j, y) in b.iter().enumerate() {
                    self.budget.spend(1)?;
                    if reached[j].is_some() {
                        continue;
                    }
                    let cell = from * b.len() + j;
                    let fit = match known[cell] {
                        Some(fit) => fit,
                        None => fits(self, &a[from], y)?,
                    };
                    known[cell] = Some(fit);
                    if !fit {
                        continue;
                    }
                    reached[j] = Some(from);
                    match taken[j] {
                        None => {
                            end = Some(j);
                            break 'search;
                        }
                        Some(partner) => open.push(partner),
                    }
                }
            }
            let Some(mut j) = end else {
                return Ok(false);
            };
            // Walk back along the path, matching each item to the one it reached.
            while let Some(from) = reached[j] {
                self.budget.spend(1)?;
                let before = taken.iter().position(|partner| *partner == Some(from));
                taken[j] = Some(from);
                match before {
                    Some(before) if from != i => j = before,
                    _ => break,
                }
            }
        }
        Ok(true)
    }

    /// Compares the components of a vector with items, one by one.
    pub(super) fn each(&mut self, components: Option<Vec<Scalar>>, items: &[Value]) -> Compared {
        match components {
            Some(components) => {
                let components: Vec<Value> = components.into_iter().map(Value::Scalar).collect();
                self.in_order(&components, items)
            }
            None => Ok(false),
        }
    }

    pub(super) fn cases(&mut self, a: &[Vec<Value>], b: &[Vec<Value>]) -> Compared {
        self.matched(
            a,
            b,
            |_| None::<()>,
            |this: &mut Self, a: &Vec<Value>, b: &Vec<Value>| this.in_order(a, b),
        )
    }
}

/// Returns whether all items have names and all names differ.
pub(super) fn distinct_names(items: &[Value]) -> bool {
    let mut names = BTreeSet::new();
    items.iter().all(|item| match item {
        Value::Equation(Equation {
            name: Some(name),
            negated: false,
            ..
        }) => names.insert(name),
        _ => false,
    })
}

/// Returns whether all names, on one side or on both, differ only in their indices.
pub(super) fn only_names_of_one_stem(a: &[Value], b: &[Value]) -> bool {
    let names = |items: &[Value]| -> Vec<String> {
        let named = items.iter().filter_map(|item| match item {
            Value::Equation(Equation {
                name: Some(name), ..
            }) => Some(name.clone()),
            _ => None,
        });
        named.collect()
    };
    let (a, b) = (names(a), names(b));
    if a.is_empty() || b.is_empty() {
        return true;
    }
    let stem = |name: &str| name.split('_').next().unwrap_or(name).to_owned();
    let first = stem(&a[0]);
    // `x_0` next to `x` is a different name.
    let mixed = |names: &[String]| {
        let indexed = names.iter().filter(|name| name.contains('_')).count();
        indexed > 0 && indexed < names.len()
    };
    a.iter().chain(&b).all(|name| stem(name) == first) && !mixed(&a) && !mixed(&b)
}

/// The key of values with the same canonical form: the name, if any, and the form.
type Form<'v> = (Option<&'v str>, &'v Fraction);

/// Returns the canonical form of a number or expression, or of a named one.
fn form(value: &Value) -> Option<Form<'_>> {
    match value {
        Value::Scalar(scalar) => Some((None, &scalar.value)),
        Value::Equation(equation) if !equation.negated => match &*equation.value {
            Value::Scalar(scalar) => Some((Some(equation.name.as_deref()?), &scalar.value)),
            _ => None,
        },
        _ => None,
    }
}

/// Removes items whose form occurred before.
fn distinct(items: &[Value]) -> Vec<Value> {
    let mut forms = BTreeSet::new();
    let mut distinct = Vec::with_capacity(items.len());
    for item in items {
        if form(item).is_none_or(|form| forms.insert(form)) {
            distinct.push(item.clone());
        }
    }
    distinct
}

/// Splits `(x, y) = (1, 2)` into `x = 1, y = 2`.
pub(super) fn one_by_one(equation: &Equation) -> Option<Vec<Value>> {
    let names = equation
        .name
        .as_ref()?
        .strip_prefix('(')?
        .strip_suffix(')')?;
    let names: Vec<&str> = names.split(',').collect();
    let Value::Tuple(values) = &*equation.value else {
        return None;
    };
    if equation.negated || names.len() != values.len() {
        return None;
    }
    let named = names.iter().zip(values).map(|(name, value)| {
        Value::Equation(Equation {
            name: Some((*name).to_owned()),
            value: Box::new(value.clone()),
            difference: None,
            negated: false,
        })
    });
    Some(named.collect())
}

/// Removes the names of items.
pub(super) fn stripped(items: &[Value]) -> Vec<Value> {
    items.iter().cloned().map(bare).collect()
}
