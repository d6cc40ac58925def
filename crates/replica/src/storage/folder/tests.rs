//! Temporary files, and what a killed writer leaves.

use std::time::SystemTime;

use super::*;
use monolite_platform::clock::ManualClock;

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

fn put(key: &str) -> Put {
    Put {
        key: key.into(),
        timestamp_ms: 1_600_000_000_123,
        on_progress: Arc::new(|_| ()),
        permit: None,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = entries(dir).unwrap().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_file_appears_whole_with_its_contents_time_and_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not/there/yet");
    let folder = Folder::new(&root, Arc::new(ManualClock::at(now_ms())));
    let put = async |bytes: &'static [u8]| {
        let source = UploadBody::bytes(Bytes::from_static(bytes));
        folder.put(put("db/ltx/0/name"), source).await.unwrap()
    };
    assert_eq!(put(b"first").await, Created::Yes);
    assert_eq!(put(b"second").await, Created::Exists);
    let path = root.join("db/ltx/0");
    assert_eq!(fs::read(path.join("name")).unwrap(), b"first");
    assert_eq!(names(&path), ["name"]);
    assert_eq!(
        folder.head("db/ltx/0/name").await.unwrap(),
        (5, 1_600_000_000_123)
    );
}

#[test]
fn only_what_a_dead_writer_left_long_ago_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(".monolite-storing-0000000000000001");
    fs::write(&left, b"half").unwrap();
    let others = [".monolite-notes", "0000.ltx.tmp", "name"];
    for name in others {
        fs::write(dir.path().join(name), b"of somebody").unwrap();
    }
    let writing = Temporary::create(&dir.path().join("other"), &STORING).unwrap();

    let clock = Arc::new(ManualClock::at(now_ms()));
    let sweeper = Sweeper::new(clock.clone());
    sweeper.sweep(dir.path());
    assert!(left.exists(), "it may be somebody's who is slow");
    clock.advance(Duration::from_secs(3700));
    sweeper.sweep(dir.path());
    assert!(!left.exists());
    let mut kept: Vec<_> = others.map(str::to_owned).into();
    let own = names(dir.path());
    kept.extend(
        own.iter()
            .filter(|name| name.starts_with(".monolite-storing-"))
            .cloned(),
    );
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(own, kept);
    assert_eq!(own.len(), 4, "its writer lives: {own:?}");
    drop(writing);
}

#[tokio::test]
async fn nothing_outside_the_folder_can_be_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path(), Arc::new(ManualClock::at(0)));
    for key in ["../x", "/etc/passwd", "a/../../x", "a\0b"] {
        let error = folder.head(key).await.unwrap_err();
        assert!(
            matches!(error, StorageError::Setting { .. }),
            "{key:?}: {error}"
        );
    }
}
