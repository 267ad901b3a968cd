//! What a recount finds.

/// A number that differs from its recount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Resource name of its owner, followed by the day if it is the number of a day.
    pub of: String,
    /// Name of its column.
    pub number: String,
    /// Stored value.
    pub stored: i64,
    /// Value by the facts.
    pub recounted: i64,
}

/// Returns the numbers that differ.
pub(super) fn differences<'a>(of: &str, numbers: impl Iterator<Item = (&'a str, i64, i64)>) -> Vec<Difference> {
    numbers
        .filter(|(_, stored, recounted)| stored != recounted)
        .map(|(number, stored, recounted)| Difference {
            of: of.to_owned(),
            number: number.to_owned(),
            stored,
            recounted,
        })
        .collect()
}
