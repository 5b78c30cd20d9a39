//! What a table takes over from SQLite when a query is planned.

use std::ffi::c_int;

use rusqlite::vtab::IndexInfo;

use super::selection::{Comparison, SeatColumn, Subject, Term};

/// Which way an order goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

/// In which order rows are delivered: device by device, by name; by time, within a device if that
/// comes first. Time has its nulls first, or last if it descends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Order {
    device: Option<Direction>,
    time: Option<Direction>,
}

impl Order {
    pub fn by_device(self) -> bool {
        self.device.is_some()
    }

    pub fn device_descends(self) -> bool {
        self.device == Some(Direction::Descending)
    }

    pub fn by_time(self) -> bool {
        self.time.is_some()
    }

    pub fn time_descends(self) -> bool {
        self.time == Some(Direction::Descending)
    }

    /// As a number that best-index hands to filter.
    pub fn number(self) -> c_int {
        let number = |direction| match direction {
            None => 0,
            Some(Direction::Ascending) => 1,
            Some(Direction::Descending) => 3,
        };
        number(self.device) | number(self.time) << 2
    }

    pub fn from_number(number: c_int) -> Self {
        let direction = |bits| match bits & 3 {
            0 => None,
            1 => Some(Direction::Ascending),
            _ => Some(Direction::Descending),
        };
        Self { device: direction(number), time: direction(number >> 2) }
    }

    /// The first bit that is free for a table's own use.
    pub const FREE: c_int = 1 << 4;
}

/// What became of a query's terms.
pub(super) struct Plan {
    pub terms: Vec<Term>,
    pub order: Order,
}

impl Plan {
    /// Takes over every term about a column that has a subject, and the order if `delivers` it;
    /// that is also told whether there is but one device.
    ///
    /// A term that is taken over is not checked again: a time is compared as a time, which its text
    /// alone would not do.
    pub fn make(
        info: &mut IndexInfo,
        subject: impl Fn(c_int) -> Option<Subject>,
        delivers: impl Fn(Order, bool) -> bool,
    ) -> rusqlite::Result<Self> {
        let mut found = Vec::new();
        for (at, constraint) in info.constraints().enumerate() {
            let comparison = Comparison::of(constraint.operator());
            let about = comparison.zip(subject(constraint.column()));
            if let Some((comparison, subject)) = about.filter(|_| constraint.is_usable()) {
                found.push((at, Term { subject, comparison }));
            }
        }
        // SQLite lets only the first sixteen stand unchecked; times come first, names may be
        // checked twice.
        found.sort_by_key(|(_, term)| term.subject != Subject::Time);
        let mut terms = Vec::new();
        for (at, mut term) in found {
            if info.is_in_constraint(at)? {
                if !term.subject.is_name() {
                    // One filter after another, one value each.
                } else if info.set_in_constraint(at, true)? {
                    term.comparison = Comparison::In;
                }
            }
            if !takes(term) || !is_binary(info, at, term) {
                continue;
            }
            terms.push(term);
            let number = c_int::try_from(terms.len()).unwrap_or(c_int::MAX);
            let mut usage = info.constraint_usage(at);
            usage.set_argv_index(number);
            usage.set_omit(true);
        }
        let one = Term { subject: Subject::Device, comparison: Comparison::Equal };
        let order = order(info, &terms, &subject);
        let order = order.filter(|order| delivers(*order, terms.contains(&one)));
        info.set_order_by_consumed(order.is_some());
        Ok(Self { terms, order: order.unwrap_or_default() })
    }

    /// As text, for filter and for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut part = |words: &str| {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(words);
        };
        self.terms.iter().for_each(|term| part(&term.to_string()));
        let order = self.order;
        if order.by_device() {
            part(if order.device_descends() { "by-device-descending" } else { "by-device" });
        }
        if order.by_time() {
            part(if order.time_descends() { "by-time-descending" } else { "by-time" });
        }
        text
    }

    /// Roughly the share of all rows that the terms let through.
    pub fn share(&self) -> f64 {
        use Comparison as C;
        self.terms.iter().fold(1.0, |share, term| {
            share
                * match (term.subject, term.comparison) {
                    (Subject::Device | Subject::Seat(SeatColumn::Vehicle), C::Equal)
                    | (Subject::Text, _) => 0.001,
                    (Subject::Device | Subject::Seat(SeatColumn::Vehicle), C::In) => 0.01,
                    (Subject::Signal, C::Equal) => 0.05,
                    (Subject::Time, C::Equal) => 0.000_001,
                    (Subject::Argument(_), _) => 0.1,
                    _ => 0.2,
                }
        })
    }
}

fn takes(term: Term) -> bool {
    match term.subject {
        Subject::Device | Subject::Signal | Subject::Seat(_) => {
            term.comparison != Comparison::Match
        }
        Subject::Time => term.comparison.is_of_time(),
        Subject::Text => term.comparison == Comparison::Match,
        Subject::Argument(_) => term.comparison == Comparison::Equal,
    }
}

/// Names are compared byte by byte here; another collation is left to SQLite.
fn is_binary(info: &IndexInfo, at: usize, term: Term) -> bool {
    let is_compared = !matches!(term.comparison, Comparison::Like | Comparison::Glob);
    !is_compared || info.collation(at).is_ok_and(|name| name.eq_ignore_ascii_case("BINARY"))
}

/// The order asked for, if it is one that can be delivered. What is constant orders nothing.
fn order(
    info: &IndexInfo,
    terms: &[Term],
    subject: &impl Fn(c_int) -> Option<Subject>,
) -> Option<Order> {
    if info.num_of_order_by() == 0 {
        return None;
    }
    let is_constant = |subject| terms.contains(&Term { subject, comparison: Comparison::Equal });
    let mut order = Order::default();
    for by in info.order_bys() {
        let direction =
            if by.is_order_by_desc() { Direction::Descending } else { Direction::Ascending };
        match subject(by.column())? {
            constant if is_constant(constant) => {}
            Subject::Device if order == Order::default() => order.device = Some(direction),
            Subject::Time if order.time.is_none() => order.time = Some(direction),
            // The other of the two columns of the same time.
            Subject::Time => {}
            _ => return None,
        }
    }
    Some(order)
}
