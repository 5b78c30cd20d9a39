//! The rows of a fleet's file, without an agent to take them.

use super::file::Rows;
use crate::vehicles::{Fault, ImportRow};

/// All rows of a file, or what is wrong with each; or with the file.
pub fn import_rows(file: &[u8]) -> anyhow::Result<Vec<Result<ImportRow, Vec<Fault>>>> {
    let mut rows = Rows::new(file, "a file")?;
    std::iter::from_fn(|| rows.next_row().transpose()).collect()
}
