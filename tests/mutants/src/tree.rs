//! A copy of the checkout, beside what is built, whose sources may be changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

/// The crate that the woven sources ask which mutant is on.
const SWITCH: &str = include_str!("switch.rs");
const SWITCH_DIR: &str = "tests/mutant-switch";
const SWITCH_MANIFEST: &str =
    "[package]\nname = \"mutant-switch\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";

/// A copy of the checkout.
#[derive(Debug)]
pub struct Tree {
    /// The checkout.
    pub root: PathBuf,
    /// The copy.
    pub dir: PathBuf,
}

impl Tree {
    /// Copies what differs, and removes what is no longer there. A file that is the same keeps its
    /// time, so that nothing is built again for it.
    ///
    /// The copy's packages are of another version, named after its folder: cargo tells packages of one
    /// name, version and place in their workspace apart by nothing, and would take what was built of one
    /// for the other.
    ///
    /// They are built as in the checkout: how long a test takes without a mutant says how long it may
    /// take with one.
    pub fn copy(root: &Path, dir: &Path, leave: &BTreeSet<String>) -> Result<Self> {
        let wanted = files(root)?;
        fs::create_dir_all(dir)?;
        let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
        let folder = dir.file_name().unwrap_or_default().to_string_lossy();
        let version = manifest.lines().find(|line| line.starts_with("version = "));
        let version = version.context("the workspace has no version")?;
        let own = format!("{}+{folder}\"", version.trim_end_matches('"'));
        let manifest = manifest.replacen(version, &own, 1);
        write(&dir.join("Cargo.toml"), manifest.as_bytes())?;
        for file in &wanted {
            if !leave.contains(file) && file != "Cargo.toml" {
                let content = fs::read(root.join(file)).with_context(|| file.clone())?;
                write(&dir.join(file), &content)?;
            }
        }
        for file in walk(dir)? {
            if !wanted.contains(&file) && !file.starts_with(SWITCH_DIR) {
                fs::remove_file(dir.join(file))?;
            }
        }
        Ok(Self { root: root.to_owned(), dir: dir.to_owned() })
    }

    /// What a file is in the checkout.
    pub fn source(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| file.to_owned())
    }

    /// Has a file be this in the copy.
    pub fn put(&self, file: &str, text: &str) -> Result<()> {
        write(&self.dir.join(file), text.as_bytes())
    }

    /// Makes the switch a dependency of these packages, given by their folders.
    pub fn add_switch(&self, folders: &BTreeSet<&str>) -> Result<()> {
        self.put(&format!("{SWITCH_DIR}/Cargo.toml"), SWITCH_MANIFEST)?;
        self.put(&format!("{SWITCH_DIR}/src/lib.rs"), SWITCH)?;
        for folder in folders {
            let file = format!("{folder}/Cargo.toml");
            let manifest = self.source(&file)?;
            let up = "../".repeat(folder.split('/').count());
            let line =
                format!("[dependencies]\nmutant-switch = {{ path = \"{up}{SWITCH_DIR}\" }}\n");
            if !manifest.contains("[dependencies]\n") {
                bail!("{file} has no [dependencies]");
            }
            self.put(&file, &manifest.replacen("[dependencies]\n", &line, 1))?;
        }
        Ok(())
    }
}

/// The checkout's files: what is committed or could be.
pub fn files(root: &Path) -> Result<BTreeSet<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("starting git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
    Ok(names.filter(|name| root.join(name).is_file()).collect())
}

/// A hash over these files, in their order.
pub fn hash_of(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files(root)?.iter().filter(|file| wanted(file)) {
        hash.update(file.as_bytes());
        hash.update(fs::read(root.join(file))?);
    }
    Ok(hex(&hash.finalize()))
}

/// A hash of some bytes, in as many digits as names need.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(12).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| path.display().to_string())
}

/// The files below a folder, relative to it.
fn walk(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(dir) {
                found.push(name.to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_found_from_a_package_at_any_depth() {
        let place = tempfile::tempdir().unwrap();
        let (root, dir) = (place.path().join("a"), place.path().join("b"));
        for folder in ["x", "x/y"] {
            write(&root.join(folder).join("Cargo.toml"), b"[dependencies]\n").unwrap();
        }
        let tree = Tree { root, dir };
        tree.add_switch(&BTreeSet::from(["x", "x/y"])).unwrap();
        for folder in ["x", "x/y"] {
            let manifest = fs::read_to_string(tree.dir.join(folder).join("Cargo.toml")).unwrap();
            let path = manifest.split('"').nth(1).unwrap();
            assert!(tree.dir.join(folder).join(path).join("src/lib.rs").is_file(), "{folder}");
        }
    }

    #[test]
    fn a_copy_follows_its_checkout() {
        let place = tempfile::tempdir().unwrap();
        let (root, dir) = (place.path().join("a"), place.path().join("b"));
        let git = |arguments: &[&str]| {
            let status = Command::new("git").args(arguments).current_dir(&root).status().unwrap();
            assert!(status.success());
        };
        fs::create_dir_all(root.join("x")).unwrap();
        git(&["init", "--quiet"]);
        fs::write(root.join("Cargo.toml"), "version = \"0.1.0\"\n").unwrap();
        fs::write(root.join("x/kept.rs"), "1").unwrap();
        fs::write(root.join("x/gone.rs"), "2").unwrap();
        let copy = || Tree::copy(&root, &dir, &BTreeSet::new()).unwrap();
        let before = hash_of(&root, |file| file.starts_with("x/")).unwrap();
        copy();
        assert_eq!(walk(&dir).unwrap().len(), 3);
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        assert_eq!(manifest, "version = \"0.1.0+b\"\n");
        fs::remove_file(root.join("x/gone.rs")).unwrap();
        copy().put("x/kept.rs", "3").unwrap();
        assert_eq!(walk(&dir).unwrap().len(), 2);
        assert_eq!(fs::read_to_string(dir.join("x/kept.rs")).unwrap(), "3");
        copy();
        assert_eq!(fs::read_to_string(dir.join("x/kept.rs")).unwrap(), "1");
        assert_ne!(hash_of(&root, |file| file.starts_with("x/")).unwrap(), before);
    }
}
