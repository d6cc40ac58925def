use super::Rebuild;
use super::names::Names;
use crate::schema::Table;
use crate::sql::{ConstraintKind as Kind, Result, TableText};

impl Rebuild {
    /// Could a value be another after it, or a rowid? Not by a default, a
    /// constraint or a collation.
    pub(super) fn may_change_values(&self, old: &Table) -> bool {
        if !(self.renames.is_empty() && self.sets.is_empty() && self.drops.is_empty()) {
            return true;
        }
        let facts = || {
            let wanted = self.wanted(&old.sql, &Names::of(old)).ok()?;
            let (was, is) = (TableText::parse(&old.sql).ok()?, wanted);
            Some((facts(&was).ok()?, facts(&is).ok()?))
        };
        // What cannot be read is refused elsewhere.
        facts().is_none_or(|(was, is)| was != is)
    }
}

/// What values and rowids depend on: columns in order with their types, what
/// computes them, keys, and what kind of table it is.
fn facts(text: &TableText) -> Result<(Vec<String>, (bool, bool))> {
    let decides = |kind: Kind| matches!(kind, Kind::PrimaryKey | Kind::Generated);
    let mut facts = Vec::new();
    for name in text.columns() {
        facts.push(name.to_ascii_lowercase());
        let Some(column) = text.column(name) else {
            continue;
        };
        facts.push(column.type_().to_ascii_lowercase());
        let own = column.constraints().iter().filter(|one| decides(one.kind));
        facts.extend(own.map(|one| column.text_of(one).to_owned()));
    }
    let all = text.constraints()?.into_iter();
    facts.extend(
        all.filter(|(_, one)| decides(one.kind))
            .map(|(text, _)| text),
    );
    Ok((facts, (text.is_strict(), text.is_without_rowid())))
}
