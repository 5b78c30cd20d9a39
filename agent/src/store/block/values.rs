//! The values of a block, column by column.

use protocol::codec::CodecError;

use super::{COLUMNS_MAX, Entry};
use crate::store::coding::{Decoder, Encoder, Number};

/// Appends the columns' values; which columns, and how many bytes each.
pub fn encode(entries: &[Entry], out: &mut Vec<u8>) -> Vec<(u8, usize)> {
    let occur = entries.iter().fold(0_u128, |mask, entry| mask | bit(entry.column));
    let mut columns = Vec::new();
    for column in (0..COLUMNS_MAX).filter(|column| occur & bit(*column) != 0) {
        let start = out.len();
        let (mut to, mut number) = (Encoder::new(), Number::new());
        let mut last = 0;
        for entry in entries.iter().filter(|entry| entry.column == column) {
            let steps = entry.amount.steps().unwrap_or(last);
            number.put(&mut to, out, steps.wrapping_sub(last));
            last = steps;
        }
        to.finish(out, start);
        columns.push((column, out.len() - start));
    }
    columns
}

/// A column's bit in a mask.
pub const fn bit(column: u8) -> u128 {
    if column < COLUMNS_MAX { 1 << column } else { 0 }
}

/// Reads the values of some columns.
#[derive(Debug)]
pub struct Values<'a> {
    columns: Vec<Option<Column<'a>>>,
}

#[derive(Debug)]
struct Column<'a> {
    from: Decoder<'a>,
    /// None if nobody wants the values.
    number: Option<Box<Number>>,
    last: i64,
}

impl<'a> Values<'a> {
    /// Over the columns that stand in `coded`, reading those in the mask.
    pub fn new(coded: &'a [u8], lengths: &[(u8, usize)], wanted: u128) -> Self {
        let mut columns: Vec<Option<Column<'a>>> =
            std::iter::repeat_with(|| None).take(COLUMNS_MAX.into()).collect();
        let mut rest = coded;
        for (column, len) in lengths {
            // What is cut short reads as zeros; the checksum stands before this.
            let (values, after) = rest.split_at_checked(*len).unwrap_or((rest, &[]));
            rest = after;
            let number = (wanted & bit(*column) != 0).then(|| Box::new(Number::new()));
            if let Some(slot) = columns.get_mut(usize::from(*column)) {
                *slot = Some(Column { from: Decoder::new(values), number, last: 0 });
            }
        }
        Self { columns }
    }

    /// The next value of a column; none if nobody wants it.
    #[inline]
    pub fn next(&mut self, column: u8) -> Result<Option<i64>, CodecError> {
        let slot = self.columns.get_mut(usize::from(column));
        let column = slot.and_then(Option::as_mut).ok_or(CodecError::UnknownSignal)?;
        let Some(number) = &mut column.number else { return Ok(None) };
        column.last = column.last.wrapping_add(number.take(&mut column.from));
        Ok(Some(column.last))
    }
}
