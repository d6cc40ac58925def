//! Commands that are shown to be copied: they do what they say wherever they are run.

use std::path::Path;

use monolite_platform::shell::quote;
use monolite_replica::Replica;

/// `monolite restore …` of a state from `replica`, to the database of this name on the
/// volume, or to another file.
pub(crate) fn restore(
    database: &str,
    volume: &Path,
    replica: &Replica,
    output: Option<&Path>,
    rest: &str,
) -> String {
    let url = quote(replica.destination_url());
    let path = |path: &Path| quote(&path.to_string_lossy()).into_owned();
    // A destination that is the replica of one database has no name for it.
    let is_own = replica.database().is_empty();
    let home = volume.join(database);
    let output = output.or(is_own.then_some(home.as_path()));
    let output = output.map_or(String::new(), |output| format!(" -o {}", path(output)));
    match is_own {
        true => format!("monolite restore {url}{output} {rest}"),
        false => format!(
            "monolite restore {} --data {} --replica {url}{output} {rest}",
            quote(database),
            path(volume),
        ),
    }
}
