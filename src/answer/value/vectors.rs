//! Vectors in terms of unit vectors: `2\mathbf{i} + 3\mathbf{j}` as components. Also names of matrices, whose
//! order in a product matters.

use super::fraction::Fraction;
use super::poly::Atom;
use super::written::Scalar;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Node};

/// The canonical name of each unit vector.
const AXES: [&str; 3] = ["axis i", "axis j", "axis k"];

/// Returns the unit vector that a decorated name denotes: bold, with a hat or with an arrow.
pub(super) fn axis_of_name(name: &str) -> Option<&'static str> {
    let (decoration, letter) = name.rsplit_once(' ')?;
    let fits = decoration.split(' ').all(|word| {
        matches!(
            word,
            "mathbf" | "hat" | "vec" | "boldsymbol" | "bm" | "widehat" | "pmb" | "overrightarrow"
        )
    });
    if !fits {
        return None;
    }
    match letter {
        "i" | "imath" => Some(AXES[0]),
        "j" | "jmath" => Some(AXES[1]),
        "k" => Some(AXES[2]),
        _ => None,
    }
}

/// Returns whether a name is that of a unit vector.
pub(super) fn is_axis(name: &str) -> bool {
    AXES.contains(&name)
}

/// Returns `count` components of an expression that is linear in the unit vectors.
pub(crate) fn components(
    value: &Scalar,
    count: usize,
    budget: &mut Budget,
) -> Result<Option<Vec<Scalar>>, EvalError> {
    if !(2..=3).contains(&count) {
        return Ok(None);
    }
    let denominator = Fraction::from(value.value.denominator.clone());
    if AXES.iter().any(|axis| denominator.depends_on(axis)) {
        return Ok(None);
    }
    let mut components = vec![Scalar::from(Fraction::whole(0)); count];
    for part in value.parts(budget)? {
        let axis = match part.axis() {
            Some(Atom::Symbol(name)) => AXES.iter().position(|axis| axis == name),
            _ => None,
        };
        let Some(component) = axis.and_then(|index| components.get_mut(index)) else {
            return Ok(None);
        };
        if AXES.iter().any(|axis| part.value.depends_on(axis)) {
            return Ok(None);
        }
        *component = part.into();
    }
    Ok(Some(components))
}

/// Returns whether a factor consists of matrices: bold capital letters, their powers, their sums, and their
/// products in brackets. Appends them to `found`, in order.
pub(super) fn matrix_names<'a>(factor: &'a Node, found: &mut Vec<&'a Node>) -> bool {
    match &factor.kind {
        Kind::Group(inner) => {
            let Kind::Mul(factors) = &inner.kind else {
                if !is_matrix(inner) {
                    return false;
                }
                found.push(factor);
                return true;
            };
            let before = found.len();
            for factor in factors {
                if !matrix_names(factor, found) {
                    found.truncate(before);
                    return false;
                }
            }
            return true;
        }
        _ if is_matrix(factor) => {}
        _ => return false,
    }
    found.push(factor);
    true
}

/// Returns whether an expression is a matrix by its names: a bold capital letter, a transposed name, or a power
/// or sum of these.
pub(super) fn is_matrix(node: &Node) -> bool {
    match &node.kind {
        Kind::Symbol(name) => bold(name).is_some_and(|c| c.is_ascii_uppercase()),
        Kind::Pow(base, exponent) => is_matrix(base) || is_transposed(exponent),
        Kind::Add(terms) => terms.iter().any(is_matrix),
        Kind::Neg(inner) | Kind::Group(inner) => is_matrix(inner),
        _ => false,
    }
}

/// Returns whether a factor may be a vector next to a matrix: a bold letter, or any name next to a transposed
/// factor.
pub(super) fn is_vector(node: &Node, transposed: bool) -> bool {
    match &node.kind {
        Kind::Symbol(name) => {
            bold(name).is_some() || transposed && !matches!(name.as_str(), "π" | "e")
        }
        _ => false,
    }
}

/// Returns whether any factor is transposed.
pub(super) fn any_transposed(factors: &[Node]) -> bool {
    factors
        .iter()
        .any(|factor| matches!(&factor.kind, Kind::Pow(_, exponent) if is_transposed(exponent)))
}

fn is_transposed(exponent: &Node) -> bool {
    matches!(&exponent.kind, Kind::Symbol(name) if matches!(name.as_str(), "T" | "top"))
}

/// Returns the letter of a bold name.
fn bold(name: &str) -> Option<char> {
    ["mathbf ", "boldsymbol ", "bm ", "pmb "]
        .iter()
        .find_map(|decoration| name.strip_prefix(decoration))?
        .chars()
        .next()
}
