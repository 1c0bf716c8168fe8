//! The pages of the catalogue say what the program says.

use std::fs;
use std::path::Path;

use crate::process::Running;

#[test]
fn the_pages_of_the_catalogue_are_those_it_would_write() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path().to_str().unwrap();
    let arguments = ["destinations", "--docs", folder];
    Running::start(env!("CARGO_BIN_EXE_muster").as_ref(), &arguments, made.path(), &[])
        .finish()
        .exits(0);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/destinations");
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(made.path()),
        names(&kept),
        "run `cargo run -- destinations --docs docs/destinations`"
    );
    for name in names(&kept) {
        let read = |folder: &Path| fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(read(made.path()), read(&kept), "{}: write the pages anew", name.display());
    }
}
