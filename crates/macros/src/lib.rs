//! The macro of the crate `monolite`; see `monolite::migrations!`.

use std::path::{Path, PathBuf};

use proc_macro::{TokenStream, TokenTree};

/// Puts the `.sql` files of a directory into the program, where it is compiled.
/// The directory is named relative to the package's `Cargo.toml`.
#[proc_macro]
pub fn migrations(input: TokenStream) -> TokenStream {
    let expanded = directory(input).and_then(|dir| expand(&dir));
    let text = expanded.unwrap_or_else(|error| format!("::core::compile_error!({error:?})"));
    // It is made of literals and paths.
    text.parse().unwrap_or_default()
}

fn directory(input: TokenStream) -> Result<PathBuf, String> {
    let usage =
        || "migrations! takes the name of a directory: migrations!(\"migrations\")".to_owned();
    let mut tokens = input.into_iter();
    let (Some(TokenTree::Literal(literal)), None) = (tokens.next(), tokens.next()) else {
        return Err(usage());
    };
    let text = literal.to_string();
    let name = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .filter(|name| !name.contains('\\') && !name.is_empty())
        .ok_or_else(usage)?;
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .ok_or("migrations! must be compiled by cargo, which says where the package is")?;
    Ok(Path::new(&package).join(name))
}

fn expand(dir: &Path) -> Result<String, String> {
    let cannot =
        |error: std::io::Error| format!("cannot read the migrations in {}: {error}", dir.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default();
        let Some(name) = name.to_str() else {
            return Err(format!(
                "{}: its name is not UTF-8; rename it",
                path.display()
            ));
        };
        let is_sql = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
        if is_sql && !name.starts_with('.') && !path.is_dir() {
            files.push((name.to_owned(), path.clone()));
        }
    }
    files.sort();
    let mut list = String::new();
    for (name, path) in files {
        // `include_str!` has the program built again when the file changes.
        list += &format!(
            "({name:?}, ::core::include_str!({:?})),",
            path.display().to_string()
        );
    }
    Ok(format!(
        "::monolite::migrate::Embedded {{
            dir: if ::core::cfg!(debug_assertions) {{ {:?} }} else {{ \"\" }},
            files: &[{list}],
        }}",
        dir.display().to_string()
    ))
}
