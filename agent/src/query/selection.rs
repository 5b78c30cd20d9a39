//! What a query asks of a table: the terms of its WHERE that are answered before anything is decoded.
//!
//! Best-index and filter speak to each other in text, so that EXPLAIN QUERY PLAN shows a person
//! what is pushed down: `device = ?, time >= ?`.

use std::ffi::c_int;
use std::fmt;
use std::str::FromStr;

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{Type, Value};
use rusqlite::vtab::{Filters, IndexConstraintOp};

use super::instant;
use crate::privacy::Seat;
use crate::vehicles::Name;

/// What a term is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The device's name.
    Device,
    /// The signal's path.
    Signal,
    /// Where the device sat.
    Seat(SeatColumn),
    /// The time, as text or in milliseconds since 1970.
    Time,
    /// The text that a full-text search is for.
    Text,
    /// An argument of a table-valued function, from 0.
    Argument(u8),
}

/// What is known of where a device sat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SeatColumn {
    Vehicle,
    Group,
    Tenant,
    Region,
}

impl SeatColumn {
    pub const ALL: [Self; 4] = [Self::Vehicle, Self::Group, Self::Tenant, Self::Region];

    /// As tables and documents call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vehicle => "vehicle",
            Self::Group => "vehiclegroup",
            Self::Tenant => "tenant",
            Self::Region => "region",
        }
    }

    /// Of a table that has all four in a row, from `first` on.
    pub fn at(column: c_int, first: c_int) -> Option<Self> {
        Self::ALL.get(usize::try_from(column.checked_sub(first)?).ok()?).copied()
    }

    /// What a seat says.
    pub fn of(self, seat: &Seat) -> Option<&str> {
        let belonging = &seat.belonging;
        match self {
            Self::Vehicle => seat.vehicle.as_deref(),
            Self::Group => belonging.group.as_ref().map(Name::as_str),
            Self::Tenant => belonging.tenant.as_ref().map(Name::as_str),
            Self::Region => belonging.region.as_ref().map(Name::as_str),
        }
    }
}

impl Subject {
    /// Whether it is a text that is compared byte by byte.
    pub const fn is_name(self) -> bool {
        matches!(self, Self::Device | Self::Signal | Self::Seat(_))
    }
}

/// How it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison {
    Equal,
    In,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    Glob,
    Match,
}

impl Comparison {
    const ALL: [Self; 9] = [
        Self::Equal,
        Self::In,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Like,
        Self::Glob,
        Self::Match,
    ];

    /// Of an operator of SQLite's; none for those that are left to it.
    #[allow(clippy::needless_pass_by_value, reason = "the operator is not Copy")]
    pub fn of(operator: IndexConstraintOp) -> Option<Self> {
        use IndexConstraintOp as Op;
        Some(match operator {
            Op::SQLITE_INDEX_CONSTRAINT_EQ => Self::Equal,
            Op::SQLITE_INDEX_CONSTRAINT_LT => Self::Less,
            Op::SQLITE_INDEX_CONSTRAINT_LE => Self::LessOrEqual,
            Op::SQLITE_INDEX_CONSTRAINT_GT => Self::Greater,
            Op::SQLITE_INDEX_CONSTRAINT_GE => Self::GreaterOrEqual,
            Op::SQLITE_INDEX_CONSTRAINT_LIKE => Self::Like,
            Op::SQLITE_INDEX_CONSTRAINT_GLOB => Self::Glob,
            Op::SQLITE_INDEX_CONSTRAINT_MATCH => Self::Match,
            _ => return None,
        })
    }

    /// As SQL writes it.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::In => "IN",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Like => "LIKE",
            Self::Glob => "GLOB",
            Self::Match => "MATCH",
        }
    }

    /// Whether the time can be compared so.
    pub const fn is_of_time(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }
}

/// A term whose right side is not known yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Term {
    pub subject: Subject,
    pub comparison: Comparison,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Device => f.write_str("device")?,
            Subject::Signal => f.write_str("signal")?,
            Subject::Seat(column) => f.write_str(column.name())?,
            Subject::Time => f.write_str("time")?,
            Subject::Text => f.write_str("text")?,
            Subject::Argument(number) => write!(f, "argument{number}")?,
        }
        write!(f, " {} ?", self.comparison.sql())
    }
}

impl FromStr for Term {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let (Some(subject), Some(sql)) = (words.next(), words.next()) else { return Err(()) };
        let subject = match subject {
            "device" => Subject::Device,
            "signal" => Subject::Signal,
            "time" => Subject::Time,
            "text" => Subject::Text,
            other => match SeatColumn::ALL.into_iter().find(|column| column.name() == other) {
                Some(column) => Subject::Seat(column),
                None => {
                    let number = other.strip_prefix("argument").and_then(|n| n.parse().ok());
                    Subject::Argument(number.ok_or(())?)
                }
            },
        };
        let comparison = Comparison::ALL.into_iter().find(|known| known.sql() == sql).ok_or(())?;
        Ok(Self { subject, comparison })
    }
}

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
    fn terms_read_back() {
        for comparison in Comparison::ALL {
            let seats = SeatColumn::ALL.map(Subject::Seat);
            let others = [Subject::Device, Subject::Signal, Subject::Time, Subject::Argument(3)];
            for subject in seats.into_iter().chain(others) {
                let term = Term { subject, comparison };
                assert_eq!(term.to_string().parse(), Ok(term));
            }
        }
        assert_eq!("by time".parse::<Term>(), Err(()));
    }

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
