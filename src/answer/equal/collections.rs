//! Lists, sets, tuples, matrices and cases: by their items.

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

    /// The same items in any order, repeats counted. Names decide together: where only one side
    /// has any, only the values count.
    pub(super) fn lists(&mut self, a: &[Value], b: &[Value]) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        // Names on one side only, all different: the order says which is which.
        if a.len() > 1 && distinct_names(a) != distinct_names(b) && only_names_of_one_stem(a, b) {
            let (a, b) = (stripped(a), stripped(b));
            return self.in_order(&a, &b);
        }
        self.matched(a, b, form, Self::values)
    }

    /// The same items in any order, repeats not counted. Where numbers may differ a little, as
    /// many different ones on both sides.
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

    /// Whether the items of two sides are the same in some order, each taken once.
    ///
    /// Where numbers may differ a little an item may fit several, so that which one it is taken for
    /// is changed until all have one (augmenting paths).
    ///
    /// `form` is what two items that are certainly the same have in common.
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
        // Whose partner each of the right ones is.
        let mut taken: Vec<Option<usize>> = vec![None; b.len()];
        let mut known: Vec<Option<bool>> = Vec::new();
        // The same form first: nothing is to be worked out for it.
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
            // From which item on the left each on the right was reached.
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
            // Back along the path: each takes the one that it reached.
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

    /// Whether components are those of a vector, one by one.
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

/// Whether all items carry names and no two the same.
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

/// Whether the names of all items, on one side or on both, are one but for indices.
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
    // (`x_0` beside `x` is another thing.)
    let mixed = |names: &[String]| {
        let indexed = names.iter().filter(|name| name.contains('_')).count();
        indexed > 0 && indexed < names.len()
    };
    a.iter().chain(&b).all(|name| stem(name) == first) && !mixed(&a) && !mixed(&b)
}

/// What two values of one normal form have in common: that form, with the name that it was given.
type Form<'v> = (Option<&'v str>, &'v Fraction);

/// The normal form of a number or expression, or of one with its name.
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

/// Items without those that were written before in the same form.
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

/// `(x, y) = (1, 2)` as `x = 1, y = 2`.
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

/// Items without their names, where all have one.
pub(super) fn stripped(items: &[Value]) -> Vec<Value> {
    items.iter().cloned().map(bare).collect()
}
