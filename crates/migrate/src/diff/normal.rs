use crate::sql::{self, ColumnText, Cursor, TableText, TokenType as T, tokens, unquote_name};

/// A text as SQLite understands it: without comments, spaces, quotes of names
/// and the case of anything but text.
pub(super) fn words(text: &str) -> Vec<String> {
    let Ok(tokens) = tokens(text) else {
        return vec![text.to_owned()];
    };
    tokens
        .iter()
        .filter(|token| token.kind != T::TK_SEMI || token.end < text.trim_end().len())
        .map(|token| match token.kind {
            T::TK_STRING | T::TK_BLOB => token.text(text).to_owned(),
            T::TK_ID => unquote_name(token.text(text)).to_ascii_lowercase(),
            _ => token.text(text).to_ascii_lowercase(),
        })
        .collect()
}

/// One column, whatever the order of its constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NormalColumn {
    pub(super) name: String,
    type_: Vec<String>,
    constraints: Vec<Vec<String>>,
}

/// A table, whatever the order of its constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NormalTable {
    pub(super) columns: Vec<NormalColumn>,
    pub(super) constraints: Vec<Vec<String>>,
    pub(super) options: (bool, bool),
}

impl NormalTable {
    pub(super) fn of(text: &str) -> sql::Result<Self> {
        let text = TableText::parse(text)?;
        let mut columns = Vec::new();
        for item in text.items.iter().filter(|item| item.column.is_some()) {
            columns.push(NormalColumn::of(&ColumnText::parse(&item.body)?));
        }
        let mut constraints: Vec<_> = text
            .constraints()?
            .iter()
            .map(|(text, _)| words(text))
            .collect();
        constraints.sort();
        Ok(Self {
            columns,
            constraints,
            options: (text.is_strict(), text.is_without_rowid()),
        })
    }

    pub(super) fn column(&self, name: &str) -> Option<&NormalColumn> {
        let name = name.to_ascii_lowercase();
        self.columns.iter().find(|column| column.name == name)
    }

    /// The same but for the order of the columns?
    pub(super) fn same_set(&self, other: &Self) -> bool {
        self.constraints == other.constraints
            && self.options == other.options
            && self.columns.len() == other.columns.len()
            && self
                .columns
                .iter()
                .all(|column| other.columns.contains(column))
    }
}

impl NormalColumn {
    fn of(column: &ColumnText) -> Self {
        let mut constraints: Vec<_> = column
            .constraints()
            .iter()
            .map(|constraint| words(column.text_of(constraint)))
            // It says nothing.
            .filter(|words| *words != ["null"])
            .collect();
        constraints.sort();
        Self {
            name: column.name().to_ascii_lowercase(),
            type_: words(column.type_()),
            constraints,
        }
    }
}

/// The words of a statement from its name on: `CREATE … name …` says the same
/// with `IF NOT EXISTS` and a schema.
pub(super) fn statement(text: &str) -> Vec<String> {
    let Ok(all) = tokens(text) else {
        return vec![text.to_owned()];
    };
    let mut cursor = Cursor::new(text, &all);
    let unique = all.iter().take(2).any(|token| token.kind == T::TK_UNIQUE);
    while let Some(token) = cursor.next() {
        if matches!(
            token.kind,
            T::TK_INDEX | T::TK_TRIGGER | T::TK_VIEW | T::TK_TABLE
        ) {
            break;
        }
    }
    if cursor.take(T::TK_IF).is_some() {
        cursor.at += 2;
    }
    if cursor.kind_by(1) == Some(T::TK_DOT) {
        cursor.at += 2;
    }
    let from = cursor.peek().map_or(0, |token| token.start);
    let mut words = words(text.get(from..).unwrap_or_default());
    words.insert(0, unique.to_string());
    words
}
