//! Folders of every form: in the inode, of one block, of many, with an index of one block and of many.

use super::fixtures::{VARIANTS, made, open};

/// A name of some length, for the `n`-th file.
fn name(n: usize) -> String {
    format!("{n}-{}", "x".repeat(n * 7 % 60))
}

/// Most are empty: a block for each would not fit.
fn content(n: usize) -> Vec<u8> {
    match n % 25 {
        0 => n.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

#[test]
fn every_entry_of_a_folder_of_any_size_is_found() {
    for (variant, options) in VARIANTS {
        let counts = [1, 4, 30, 400, 700];
        let files: Vec<(String, Vec<u8>)> = counts
            .iter()
            .flat_map(|count| (0..*count).map(move |n| (*count, n)))
            .map(|(count, n)| (format!("/{count}/{}", name(n)), content(n)))
            .collect();
        let mut given: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .collect();
        given.push(("/400/folder/x", b""));
        let tree = open(&made(options, &given)).unwrap();
        for count in counts {
            let folder = format!("/{count}");
            let listed = tree.list(&folder).unwrap();
            let mut wanted: Vec<(String, bool)> = (0..count).map(|n| (name(n), false)).collect();
            if count == 400 {
                wanted.push(("folder".into(), true));
            }
            wanted.sort();
            let listed: Vec<(String, bool)> = listed
                .into_iter()
                .map(|entry| (entry.name, entry.is_folder))
                .collect();
            assert!(listed == wanted, "{variant} {folder}");
            assert!(!tree.exists(&format!("{folder}/none")).unwrap());
        }
        for (path, content) in files.iter().step_by(37).chain(files.last()) {
            assert_eq!(tree.read(path, 20).unwrap(), *content, "{variant} {path}");
        }
        assert_eq!(tree.list("/").unwrap().len(), counts.len());
    }
}
