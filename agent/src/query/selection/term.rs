//! Terms whose right side is not known yet, as best-index writes them down and filter reads them.

use std::ffi::c_int;
use std::fmt;
use std::str::FromStr;

use rusqlite::vtab::IndexConstraintOp;

use crate::privacy::Seat;
use crate::vehicles::Name;

/// What a term is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Subject {
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
pub(in super::super) enum SeatColumn {
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
pub(in super::super) enum Comparison {
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
pub(in super::super) struct Term {
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
            other => {
                let seat = SeatColumn::ALL.into_iter().find(|column| column.name() == other);
                let number = || other.strip_prefix("argument").and_then(|n| n.parse().ok());
                seat.map(Subject::Seat).or_else(|| number().map(Subject::Argument)).ok_or(())?
            }
        };
        let comparison = Comparison::ALL.into_iter().find(|known| known.sql() == sql).ok_or(())?;
        Ok(Self { subject, comparison })
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
}
