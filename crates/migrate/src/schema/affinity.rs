/// What a column makes of a value it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Whole numbers, if it can be one.
    Integer,
    /// Text.
    Text,
    /// What comes in.
    Blob,
    /// Floating point, if it can be one.
    Real,
    /// A number, if it can be one.
    Numeric,
}

impl Affinity {
    /// Of a declared type, by SQLite's rules.
    #[must_use]
    pub fn of(declared: &str, strict: bool) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if strict && declared == "ANY" || declared.is_empty() {
            Self::Blob
        } else if has("INT") {
            Self::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") {
            Self::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}
