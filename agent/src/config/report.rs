//! What is wrong with a configuration file: where, what, and what was probably meant.

use std::fmt;
use std::ops::Range;

use super::ConfigError;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text, in bytes; none if the mistake is in what the text does not say.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub what: String,
    /// What was probably meant, or what would be right.
    pub meant: Option<String>,
}

/// All mistakes in one file, shown with their lines.
#[derive(Clone, Debug)]
pub struct Report {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

impl Report {
    /// Nothing wrong yet with this text, called this.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), problems: Vec::new() }
    }

    /// Adds a mistake.
    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The mistakes, in the order of the text, each with line and column from 1 if it has a place.
    pub fn problems(&self) -> impl Iterator<Item = (&Problem, Option<(usize, usize)>)> {
        let mut ordered: Vec<&Problem> = self.problems.iter().collect();
        ordered.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        ordered.into_iter().map(|problem| {
            let place = problem.span.as_ref().map(|span| self.place(span.start));
            (problem, place.map(|place| (place.line, place.column)))
        })
    }

    /// `value` if nothing is wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.is_empty() { Ok(value) } else { Err(ConfigError::Invalid(self)) }
    }

    fn place(&self, at: usize) -> Place<'_> {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(start..).unwrap_or_default();
        let column = self.text.get(start..at).unwrap_or_default().chars().count() + 1;
        let line = before.matches('\n').count() + 1;
        Place { line, column, text: rest.lines().next().unwrap_or_default() }
    }

    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meant = problem.meant.as_deref();
        let Some(span) = &problem.span else {
            let meant = meant.map(|meant| format!(" ({meant})")).unwrap_or_default();
            return writeln!(f, "{}: {}{meant}", self.name, problem.what);
        };
        let place = self.place(span.start);
        let marked = self.text.get(span.clone()).and_then(|text| text.lines().next());
        let carets = "^".repeat(marked.map_or(1, |text| text.chars().count()).max(1));
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands under what it means.
        let indent: String = place.text.chars().take(place.column - 1).map(blank).collect();
        writeln!(f, "{}:{number}:{}: {}", self.name, place.column, problem.what)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", place.text)?;
        writeln!(f, "{margin} | {indent}{carets} {}", meant.unwrap_or_default())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems().try_for_each(|(problem, _)| self.show(problem, f))?;
        match self.problems.len() {
            1 => write!(f, "1 error"),
            count => write!(f, "{count} errors"),
        }
    }
}

struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

const fn blank(character: char) -> char {
    if character == '\t' { '\t' } else { ' ' }
}
