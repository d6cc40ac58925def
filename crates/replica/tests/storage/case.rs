//! Each kind of place, with and without encryption.

use monolite_replica::{Destination, FileInfo};

use crate::bench::{Place, key};

pub(crate) struct Case {
    pub(crate) place: Place,
    pub(crate) sealed: bool,
    pub(crate) destination: Destination,
}

pub(crate) fn cases() -> Vec<Case> {
    let kinds = [
        (Place::folder(), false),
        (Place::folder(), true),
        (Place::bucket(), false),
        (Place::bucket(), true),
    ];
    let case = |(place, sealed): (Place, bool)| Case {
        destination: place.open("copies", sealed.then(|| key(1))),
        place,
        sealed,
    };
    kinds.into_iter().map(case).collect()
}

impl Case {
    /// What a file is called in the place.
    pub(crate) fn name(&self, database: &str, file: &FileInfo) -> String {
        let level = self.place.level(file.level);
        let suffix = if self.sealed { ".sealed" } else { "" };
        let (min, max) = (file.min, file.max);
        format!("copies/{database}/{level}/{min}-{max}.ltx{suffix}")
    }
}
