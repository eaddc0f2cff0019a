//! Lists, sets, tuples, matrices and cases: by their items.

use super::compare::{Compared, Comparison};
use crate::answer::value::{Equation, Fraction, Value, bare};

impl Comparison<'_> {
    pub(super) fn matrices(&mut self, a: &[Vec<Fraction>], b: &[Vec<Fraction>]) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (left, right) in a.iter().zip(b) {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (x, y) in left.iter().zip(right) {
                if !self.same(x, y)? {
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
        let mut taken = vec![false; b.len()];
        'next: for x in a {
            // The same normal form first: nothing is to be worked out for it.
            for (y, taken) in b.iter().zip(&mut taken) {
                if !*taken && same_form(x, y) {
                    *taken = true;
                    continue 'next;
                }
            }
            for (y, taken) in b.iter().zip(&mut taken) {
                if !*taken && self.values(x, y)? {
                    *taken = true;
                    continue 'next;
                }
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// The same items in any order, repeats not counted.
    pub(super) fn sets(&mut self, a: &[Value], b: &[Value]) -> Compared {
        Ok(self.included(a, b)? && self.included(b, a)?)
    }

    pub(super) fn included(&mut self, a: &[Value], b: &[Value]) -> Compared {
        'next: for x in a {
            if b.iter().any(|y| same_form(x, y)) {
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

    /// Whether components are those of a vector, one by one.
    pub(super) fn each(&mut self, components: Option<Vec<Fraction>>, items: &[Value]) -> Compared {
        match components {
            Some(components) => {
                let components: Vec<Value> = components.into_iter().map(Value::scalar).collect();
                self.in_order(&components, items)
            }
            None => Ok(false),
        }
    }

    pub(super) fn cases(&mut self, a: &[Vec<Value>], b: &[Vec<Value>]) -> Compared {
        if a.len() != b.len() {
            return Ok(false);
        }
        let mut taken = vec![false; b.len()];
        'next: for x in a {
            for (y, taken) in b.iter().zip(&mut taken) {
                if !*taken && self.in_order(x, y)? {
                    *taken = true;
                    continue 'next;
                }
            }
            return Ok(false);
        }
        Ok(true)
    }
}

/// Whether all items carry names and no two the same.
pub(super) fn distinct_names(items: &[Value]) -> bool {
    let mut names = Vec::new();
    for item in items {
        match item {
            Value::Equation(Equation {
                name: Some(name),
                negated: false,
                ..
            }) if !names.contains(&name) => names.push(name),
            _ => return false,
        }
    }
    true
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
    a.iter().chain(&b).all(|name| stem(name) == first)
}

/// Whether two values are expressions of one normal form.
pub(super) fn same_form(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => left.value == right.value,
        _ => false,
    }
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
