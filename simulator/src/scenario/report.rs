//! What is wrong with a scenario file: where, what, and what was probably meant.

use std::fmt;
use std::ops::Range;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text, in bytes; none if the mistake is in what the text does not say.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub what: String,
    /// What was probably meant, or what would be right.
    pub meant: String,
}

/// All mistakes of one file, each with its line.
#[derive(Clone, Debug)]
pub struct Report {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self { name: name.to_owned(), text: text.to_owned(), problems }
    }

    /// The mistakes, in the order of the text.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { span, what, meant } = problem;
        let Some(span) = span else {
            return writeln!(f, "{}: {what} ({meant})", self.name);
        };
        let before = self.text.get(..span.start).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let row = before.matches('\n').count() + 1;
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let marked = self.text.get(span.clone()).and_then(|marked| marked.lines().next());
        let carets = "^".repeat(marked.map_or(1, |marked| marked.chars().count()).max(1));
        let margin = " ".repeat(row.to_string().len());
        // Tabs stay tabs, so that the caret stands under what it means.
        let blank = |character| if character == '\t' { '\t' } else { ' ' };
        let indent: String = line.chars().take(column - 1).map(blank).collect();
        writeln!(f, "{}:{row}:{column}: {what}", self.name)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{row} | {line}")?;
        writeln!(f, "{margin} | {indent}{carets} {meant}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().try_for_each(|problem| self.show(problem, f))?;
        match self.problems.len() {
            1 => write!(f, "1 error"),
            count => write!(f, "{count} errors"),
        }
    }
}
