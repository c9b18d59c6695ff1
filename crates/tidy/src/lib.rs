//! What is asked of every source file of this workspace.
//!
//! Owns the rules about sizes, names and first lines (`shape`), and about which file may import
//! which (`arrows`). Must not know what the code does. `tests/workspace.rs` holds the workspace to
//! them and names the exceptions.

pub mod arrows;
pub mod shape;

use std::io;
use std::path::{Path, PathBuf};

/// A Rust file.
pub struct Source {
    /// Where it is, from the workspace's root, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// The same, parsed.
    pub syntax: syn::File,
}

impl Source {
    /// A file with this content.
    ///
    /// # Errors
    /// When it is no Rust.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> syn::Result<Self> {
        let text = text.into();
        let syntax = syn::parse_file(&text)?;
        Ok(Self { path: path.into(), text, syntax })
    }
}

/// All Rust files below `root`/crates, ordered by path.
///
/// # Errors
/// When a folder or a file can't be read, or a file is no Rust.
pub fn sources(root: &Path) -> io::Result<Vec<Source>> {
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        Source::new(name.clone(), text)
            .map_err(|error| io::Error::other(format!("{name}: {error}")))
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
