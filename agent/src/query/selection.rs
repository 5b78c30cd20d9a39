//! What a query asks of a table: the terms of its WHERE that are answered before anything is decoded.
//!
//! Best-index and filter speak to each other in text, so that EXPLAIN QUERY PLAN shows a person
//! what is pushed down: `device = ?, time >= ?`.

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{Type, Value};
use rusqlite::vtab::Filters;

use super::instant;

pub(super) use term::{Comparison, SeatColumn, Subject, Term};

mod term;

/// What a name has to be like.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct NameTerm {
    pub comparison: Comparison,
    /// One value, or those of an IN.
    pub values: Vec<Value>,
}

/// What is asked for, values included.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Selection {
    pub devices: Vec<NameTerm>,
    pub signals: Vec<NameTerm>,
    pub seats: Vec<(SeatColumn, NameTerm)>,
    /// The seats that those terms let through, once they are found: `seats.id`, as a JSON array.
    pub seat_ids: Option<String>,
    /// Full-text searches, all of which must hit.
    pub texts: Vec<Value>,
    /// Arguments of a table-valued function.
    pub arguments: [Option<Value>; Self::ARGUMENTS_MAX],
    /// The earliest and the latest time asked for, in milliseconds since 1970; the whole range if
    /// time is not asked for.
    pub from_ms: i64,
    pub to_ms: i64,
    /// Whether time is asked for: then what has none is not.
    pub is_timed: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            signals: Vec::new(),
            seats: Vec::new(),
            seat_ids: None,
            texts: Vec::new(),
            arguments: Default::default(),
            from_ms: i64::MIN,
            to_ms: i64::MAX,
            is_timed: false,
        }
    }
}

impl Selection {
    pub const ARGUMENTS_MAX: usize = 5;

    /// Reads what best-index wrote, with the values now known.
    pub fn read(plan: &str, values: &Filters<'_>) -> rusqlite::Result<Self> {
        let mut selection = Self::default();
        let terms = plan.split(", ").filter_map(|term| term.parse::<Term>().ok());
        for (at, term) in terms.enumerate() {
            match term.subject {
                Subject::Device => selection.devices.push(name_term(term, values, at)?),
                Subject::Signal => selection.signals.push(name_term(term, values, at)?),
                Subject::Seat(column) => {
                    selection.seats.push((column, name_term(term, values, at)?));
                }
                Subject::Time => selection.narrow(term.comparison, &values.get(at)?)?,
                Subject::Text => selection.texts.push(values.get(at)?),
                Subject::Argument(number) => {
                    if let Some(slot) = selection.arguments.get_mut(usize::from(number)) {
                        *slot = Some(values.get(at)?);
                    }
                }
            }
        }
        Ok(selection)
    }

    /// Takes in a term about the time.
    pub fn narrow(&mut self, comparison: Comparison, value: &Value) -> rusqlite::Result<()> {
        self.is_timed = true;
        // Whole milliseconds around the value: the last not after it, the first not before it.
        let (floor, ceil) = match value {
            Value::Null => {
                (self.from_ms, self.to_ms) = (1, 0);
                return Ok(());
            }
            Value::Real(real) => (saturate(real.floor()), saturate(real.ceil())),
            other => {
                let unix_ms = time_of(other)?;
                (unix_ms, unix_ms)
            }
        };
        let (from, to) = match comparison {
            Comparison::Less => (i64::MIN, ceil.saturating_sub(1)),
            Comparison::LessOrEqual => (i64::MIN, floor),
            Comparison::Greater => (floor.saturating_add(1), i64::MAX),
            Comparison::GreaterOrEqual => (ceil, i64::MAX),
            _ => (ceil, floor),
        };
        self.from_ms = self.from_ms.max(from);
        self.to_ms = self.to_ms.min(to);
        Ok(())
    }

    /// From a time that buckets begin at, so far, to all that is in them.
    pub fn widen(&mut self, width_ms: i64) {
        if !self.is_timed || self.is_empty() {
            return;
        }
        if self.from_ms > i64::MIN {
            let late = self.from_ms.rem_euclid(width_ms);
            let missing = if late == 0 { 0 } else { width_ms - late };
            self.from_ms = self.from_ms.saturating_add(missing);
        }
        if self.to_ms < i64::MAX {
            let rest = width_ms - 1 - self.to_ms.rem_euclid(width_ms);
            self.to_ms = self.to_ms.saturating_add(rest);
        }
    }

    /// Whether nothing can answer it.
    pub fn is_empty(&self) -> bool {
        self.from_ms > self.to_ms
    }

    /// Whether a time is asked for.
    pub fn holds(&self, unix_ms: i64) -> bool {
        (self.from_ms..=self.to_ms).contains(&unix_ms)
    }
}

/// The instant that a value names.
pub(super) fn time_of(value: &Value) -> rusqlite::Result<i64> {
    let wrong = |shown: String| {
        rusqlite::Error::ModuleError(format!(
            "{shown} is no time: write '2026-11-22', '2026-11-22T07:30:00Z' or milliseconds since 1970"
        ))
    };
    match value {
        Value::Integer(unix_ms) => Ok(*unix_ms),
        Value::Real(real) => Ok(saturate(real.floor())),
        Value::Text(text) => instant::parse(text).ok_or_else(|| wrong(format!("'{text}'"))),
        Value::Null | Value::Blob(_) => Err(wrong("what time is compared with".to_owned())),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "saturating is meant")]
fn saturate(real: f64) -> i64 {
    real as i64
}

fn name_term(term: Term, values: &Filters<'_>, at: usize) -> rusqlite::Result<NameTerm> {
    let comparison = term.comparison;
    if comparison != Comparison::In {
        return Ok(NameTerm { comparison, values: vec![values.get(at)?] });
    }
    let mut list = Vec::new();
    let mut named = values.in_values(at)?;
    while let Some(value) = named.next()? {
        // Names are texts; nothing else equals one.
        if value.data_type() == Type::Text {
            list.push(value.try_into()?);
        }
    }
    Ok(NameTerm { comparison, values: list })
}

impl NameTerm {
    /// As a condition on `column`; its values are appended to the parameters.
    pub fn sql(&self, column: &str, parameters: &mut Vec<Value>) -> String {
        let sql = self.comparison.sql();
        if self.comparison != Comparison::In {
            parameters.extend(self.values.first().cloned());
            return format!("{column} {sql} ?");
        }
        let texts = self.values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(serde_json::Value::from(text.as_str())),
            _ => None,
        });
        parameters.push(Value::Text(serde_json::Value::Array(texts.collect()).to_string()));
        format!("{column} IN (SELECT value FROM json_each(?))")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_asked_for_by_its_beginning() {
        let widened = |from_ms, to_ms| {
            let mut selection =
                Selection { from_ms, to_ms, is_timed: true, ..Selection::default() };
            selection.widen(10);
            (selection.from_ms, selection.to_ms)
        };
        assert_eq!(widened(20, 40), (20, 49));
        assert_eq!(widened(21, 49), (30, 49));
        assert_eq!(widened(-5, i64::MAX), (0, i64::MAX));
        assert_eq!(widened(i64::MIN, -11), (i64::MIN, -11));
    }

    fn narrowed(terms: &[(Comparison, Value)]) -> (i64, i64) {
        let mut selection = Selection::default();
        for (how, value) in terms {
            selection.narrow(*how, value).unwrap();
        }
        (selection.from_ms, selection.to_ms)
    }

    #[test]
    fn bounds_are_whole_milliseconds() {
        use Comparison as C;
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(narrowed(&[(C::Equal, text("1970-01-01T00:00:01Z"))]), (1000, 1000));
        assert_eq!(
            narrowed(&[(C::Greater, Value::Integer(5)), (C::Less, Value::Integer(9))]),
            (6, 8)
        );
        assert_eq!(
            narrowed(&[(C::GreaterOrEqual, Value::Real(1.5)), (C::LessOrEqual, Value::Real(7.5))]),
            (2, 7)
        );
        assert_eq!(
            narrowed(&[(C::Greater, Value::Real(1.5)), (C::Less, Value::Real(7.5))]),
            (2, 7)
        );
        let (from, to) = narrowed(&[(C::Equal, Value::Real(1.5))]);
        assert!(from > to);
        let (from, to) = narrowed(&[(C::Less, Value::Null)]);
        assert!(from > to);
        let error = Selection::default().narrow(C::Less, &text("noon")).unwrap_err();
        assert!(error.to_string().contains("'noon' is no time"), "{error}");
    }
}
