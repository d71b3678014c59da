//! `make purge`.

use super::{Clone, Ended, ended};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

impl Clone {
    /// A folder with something in it.
    fn fill(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("kept"), "by name").expect("a file");
        folder
    }

    fn purge(&self, home: &Path, answer: &str) -> Ended {
        let mut command = Command::new(self.path("scripts/purge.sh"));
        command
            .arg(self.path("cache"))
            .current_dir(self.folder.path())
            .env("KILN_HOME", home);
        ended(&mut command, answer)
    }
}

#[test]
fn purge_removes_build_and_cache_after_a_question_and_keeps_images_and_instances() {
    let clone = Clone::new();
    let (build, cache, home) = (clone.fill("target"), clone.fill("cache"), clone.fill("home"));
    for answer in ["n\n", "\n", ""] {
        let refused = clone.purge(&home, answer);
        assert_ne!(refused.status, Some(0));
        assert!(
            build.join("kept").exists() && cache.join("kept").exists(),
            "after {answer:?}"
        );
        let named = refused.said.contains("target") && refused.said.contains("cache");
        assert!(named, "it says what it would remove: {}", refused.said);
    }
    let purged = clone.purge(&home, "y\n");
    assert_eq!(purged.status, Some(0), "{}", purged.said);
    assert!(!build.exists() && !cache.exists());
    assert!(home.join("kept").exists());
}

#[test]
fn purge_leaves_a_store_in_the_build_folder_alone() {
    let clone = Clone::new();
    clone.fill("target");
    let (cache, home) = (clone.fill("cache"), clone.fill("target/home"));
    let purged = clone.purge(&home, "y\n");
    assert_eq!(purged.status, Some(0), "{}", purged.said);
    assert!(
        home.join("kept").exists() && purged.said.contains("left alone"),
        "{}",
        purged.said
    );
    assert!(!cache.exists());
}

#[test]
fn purge_knows_a_store_by_every_path_to_it() {
    let clone = Clone::new();
    symlink(clone.folder.path(), clone.path("link")).expect("a link");
    let (of_clone, of_link) = (Path::new("target/home"), clone.path("link/target/home"));
    for path in [of_clone, &of_link, Path::new("link/target/home")] {
        let home = clone.fill("target/home");
        let purged = clone.purge(path, "y\n");
        assert_eq!(purged.status, Some(0), "{}", purged.said);
        assert!(home.join("kept").exists(), "{}: {}", path.display(), purged.said);
    }
    symlink(clone.fill("cache"), clone.path("linked-cache")).expect("a link");
    let home = clone.fill("cache/home");
    let purged = clone.purge(&clone.path("linked-cache/home"), "y\n");
    assert!(home.join("kept").exists(), "{}", purged.said);
}

#[test]
fn purge_leaves_the_store_of_who_has_named_none_alone_where_it_is_the_cache() {
    let clone = Clone::new().with_links(&[]);
    clone.program("bin/id", "echo 1000");
    let both = clone.fill("kiln");
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new(clone.path("scripts/purge.sh"));
    command
        .arg(&both)
        .env_remove("KILN_HOME")
        .env("XDG_DATA_HOME", clone.folder.path())
        .env("PATH", format!("{}:{path}", clone.path("bin").display()));
    let purged = ended(&mut command, "y\n");
    assert!(both.join("kept").exists(), "{}", purged.said);
}
