//! Problems: a question with its reference answer.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A question with a reference answer and any further fields of its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name: given in the problem's file, or a hash of question and reference.
    pub id: String,
    /// The text put to the model.
    pub question: String,
    /// The final answer of a correct response.
    pub reference: String,
    /// All other fields of the problem (level, type, …).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// A worked solution as its author wrote it, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
}

impl Problem {
    /// A problem whose id is a hash of its question and reference. The same text has the same id on every
    /// machine and in every version.
    ///
    /// ```
    /// let problem = dart_math::Problem::new("What is 1 + 1?", "2");
    /// assert_eq!(problem.id, dart_math::Problem::new("What is 1 + 1?", "2").id);
    /// assert_ne!(problem.id, dart_math::Problem::new("What is 1 + 1?", "3").id);
    /// ```
    pub fn new(question: impl Into<String>, reference: impl Into<String>) -> Self {
        let (question, reference) = (question.into(), reference.into());
        let mut hash = Sha256::new();
        hash.update((question.len() as u64).to_le_bytes());
        hash.update(question.as_bytes());
        hash.update(reference.as_bytes());
        Problem {
            id: super::hex(&hash.finalize()[..8]),
            question,
            reference,
            metadata: serde_json::Map::new(),
            solution: None,
        }
    }

    /// Returns the same problem with the given id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }
}
