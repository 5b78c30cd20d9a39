//! Records, page by page: no more of them in memory than a page, and no statement kept open.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::super::plan::Order;
use super::super::selection::Selection;
use super::super::source::{Device, Source};
use super::Definition;

/// Rows of the first page, and of the greatest: a LIMIT of a few reads few, a scan reads many.
const PAGE_MIN: usize = 64;
const PAGE_MAX: usize = 4096;

/// Goes through records by time, those without one first (last if time descends); device by device
/// if devices are asked for.
#[derive(Debug)]
pub(super) struct Pages {
    source: Arc<Source>,
    definition: &'static Definition,
    selection: Selection,
    /// What is asked of each: a bit per column.
    columns: u64,
    descends: bool,
    /// Stretches still to come.
    stretches: VecDeque<Stretch>,
    stretch: Option<Stretch>,
    page: VecDeque<Vec<Value>>,
    page_max: usize,
}

/// Records that one ordered statement gives.
#[derive(Clone, Debug)]
struct Stretch {
    device: Option<Device>,
    part: Part,
    /// Time and number of the last record read.
    behind: Option<(Value, Value)>,
}

/// Which records, in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Those with a time, by it.
    Timed,
    /// Those without, as they came.
    Untimed,
    /// All, as they came: what a search streams.
    Found,
}

impl Pages {
    /// Goes to the first record.
    pub fn start(
        source: Arc<Source>,
        definition: &'static Definition,
        selection: Selection,
        order: Order,
        columns: u64,
    ) -> rusqlite::Result<Self> {
        let mut stretches = VecDeque::new();
        let is_overall = order.by_time() && !order.by_device();
        let mut devices = Vec::new();
        if selection.is_empty() {
            // Nothing.
        } else if is_overall || (selection.devices.is_empty() && !order.by_device()) {
            devices.push(None);
        } else {
            let named = source.devices(&selection, order.device_descends())?;
            devices.extend(named.into_iter().map(Some));
        }
        for device in devices {
            let is_searched = !selection.texts.is_empty();
            let parts: &[Part] = match (selection.is_timed, order.time_descends()) {
                _ if is_searched && !order.by_time() => &[Part::Found],
                (true, _) => &[Part::Timed],
                (false, false) => &[Part::Untimed, Part::Timed],
                (false, true) => &[Part::Timed, Part::Untimed],
            };
            let stretch =
                |part: &Part| Stretch { device: device.clone(), part: *part, behind: None };
            stretches.extend(parts.iter().map(stretch));
        }
        let mut pages = Self {
            source,
            definition,
            selection,
            columns,
            descends: order.time_descends(),
            stretches,
            stretch: None,
            page: VecDeque::new(),
            page_max: PAGE_MIN,
        };
        pages.settle()?;
        Ok(pages)
    }

    /// The record at hand: its number, its time, its columns; none behind the last.
    pub fn here(&self) -> Option<&[Value]> {
        self.page.front().map(Vec::as_slice)
    }

    /// Goes on to the next record.
    pub fn advance(&mut self) -> rusqlite::Result<()> {
        self.page.pop_front();
        self.settle()
    }

    fn settle(&mut self) -> rusqlite::Result<()> {
        while self.page.is_empty() {
            let Some(mut stretch) = self.stretch.take().or_else(|| self.stretches.pop_front())
            else {
                return Ok(());
            };
            self.page = self.read(&stretch)?.into();
            if let Some([number, time, ..]) = self.page.back().map(Vec::as_slice)
                && self.page.len() >= self.page_max
            {
                stretch.behind = Some((time.clone(), number.clone()));
                self.stretch = Some(stretch);
                self.page_max = (self.page_max * 2).min(PAGE_MAX);
            }
        }
        Ok(())
    }

    fn read(&self, stretch: &Stretch) -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut parameters = Vec::new();
        let sql = self.sql(stretch, &mut parameters);
        let width = self.definition.columns().count() + 2;
        self.source.index(|index| {
            let mut statement = index.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), |row| {
                (0..width).map(|column| row.get(column)).collect()
            })?;
            rows.collect()
        })
    }

    fn sql(&self, stretch: &Stretch, parameters: &mut Vec<Value>) -> String {
        let mut sql = "SELECT r.id, r.time_ms".to_owned();
        for (at, column) in self.definition.columns().enumerate() {
            let is_asked = self.columns >> at & 1 == 1;
            sql.push_str(", ");
            sql.push_str(if is_asked { column.sql } else { "NULL" });
        }
        let is_searched = !self.selection.texts.is_empty();
        sql.push_str(if is_searched {
            " FROM log_text AS t CROSS JOIN records AS r ON r.id = t.rowid"
        } else {
            " FROM records AS r"
        });
        sql.push_str(
            " JOIN devices AS d ON d.id = r.device JOIN rings AS g ON g.id = r.ring WHERE r.kind = ",
        );
        sql.push_str(&self.definition.kind.to_string());
        let mut also = |condition: &str, values: &[Value]| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            parameters.extend_from_slice(values);
        };
        if is_searched {
            also("t.log_text MATCH ?", &[Value::Text(all_of(&self.selection.texts))]);
        }
        if let Some(device) = &stretch.device {
            also("r.device = ?", &[Value::Integer(device.id)]);
        } else {
            for term in &self.selection.devices {
                let mut values = Vec::new();
                let named = term.sql("device", &mut values);
                also(&format!("r.device IN (SELECT id FROM devices WHERE {named})"), &values);
            }
        }
        if stretch.part == Part::Untimed {
            also("r.time_ms IS NULL", &[]);
        } else if stretch.part == Part::Timed || self.selection.is_timed {
            let (from, to) = (self.selection.from_ms, self.selection.to_ms);
            also("r.time_ms BETWEEN ? AND ?", &[Value::Integer(from), Value::Integer(to)]);
        }
        let (than, direction) = if self.descends { ("<", "DESC") } else { (">", "ASC") };
        let number = if is_searched { "t.rowid" } else { "r.id" };
        let (behind, order) = if stretch.part == Part::Timed {
            ("(r.time_ms, r.id) ", format!("r.time_ms {direction}, r.id {direction}"))
        } else {
            ("", format!("{number} {direction}"))
        };
        match &stretch.behind {
            Some((time, last)) if !behind.is_empty() => {
                also(&format!("{behind}{than} (?, ?)"), &[time.clone(), last.clone()]);
            }
            Some((_, last)) => also(&format!("{number} {than} ?"), std::slice::from_ref(last)),
            None => {}
        }
        sql + &format!(" ORDER BY {order} LIMIT {}", self.page_max)
    }
}

/// Several searches as one.
fn all_of(texts: &[Value]) -> String {
    let shown = texts.iter().map(|text| match text {
        Value::Text(text) => text.clone(),
        Value::Integer(whole) => whole.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Null | Value::Blob(_) => String::new(),
    });
    let shown: Vec<String> = shown.collect();
    match shown.as_slice() {
        [one] => one.clone(),
        several => several.iter().map(|text| format!("({text})")).collect::<Vec<_>>().join(" AND "),
    }
}
