//! All mutants of a file in one source, each behind a switch.
//!
//! An expression `a + b` becomes `(if ::mutant_switch::on(7) {(a) - (b)} else {a + b})`: where a mutant
//! is on, its whole text is what stands in the source, and in the other branch stand the switches of
//! what is within. A function returns its other value before its first statement, an arm of a match
//! has a guard that says it is gone. The operands of an operator are kept whole: a mutant changes the
//! operator in the tree, not in the text.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result};
use syn::visit::Visit;

use crate::list::{Mutant, Place};

mod sites;

pub use sites::Texts;
use sites::{Shape, Site};

/// A source with mutants in it.
#[derive(Debug)]
pub struct Woven {
    /// The text.
    pub text: String,
    /// Where in it each mutant's own text is.
    pub mutants: Vec<(Range<usize>, u32)>,
    /// Where what a mutant changes is, with its switch: the innermost last.
    pub sites: Vec<(Range<usize>, Vec<u32>)>,
    /// Mutants that cannot stand beside what they change.
    pub left_out: Vec<u32>,
    /// Mutants that the language has no place for.
    pub refused: Vec<u32>,
    /// Functions that are no longer `const`: their names, and the mutants in them.
    pub consts: HashMap<String, Vec<u32>>,
}

/// What is woven into one file.
pub struct Weaver<'a> {
    source: &'a str,
    sites: Vec<Site>,
    woven: Woven,
}

impl<'a> Weaver<'a> {
    /// Weaves these mutants of one file into its source. Functions named in `keep_const` stay `const`,
    /// and have none.
    pub fn weave(source: &'a str, mutants: &[&Mutant], keep_const: &[String]) -> Result<Woven> {
        let file = syn::parse_file(source).context("a source that does not parse")?;
        let mut finder = sites::Finder::new(source, mutants, keep_const);
        finder.visit_file(&file);
        let (sites, left_out, refused, consts) = finder.found();
        let woven = Woven {
            text: String::with_capacity(source.len() * 4),
            mutants: Vec::new(),
            sites: Vec::new(),
            left_out,
            refused,
            consts,
        };
        let mut weaver = Self { source, sites, woven };
        // What begins earlier first; of what begins at one place insertions, then the outer.
        weaver.sites.sort_by_key(|site| {
            let inserts = site.range.is_empty();
            (site.range.start, !inserts, std::cmp::Reverse(site.range.end))
        });
        let sites = std::mem::take(&mut weaver.sites);
        weaver.write(0..source.len(), &sites)?;
        Ok(weaver.woven)
    }

    /// One mutant alone in the source, in the same form. None if this mutant has no place there.
    pub fn only(source: &str, mutant: &Mutant) -> Result<Option<String>> {
        let file = syn::parse_file(source)?;
        let mutants = [mutant];
        let mut finder = sites::Finder::alone(source, &mutants);
        finder.visit_file(&file);
        let (sites, ..) = finder.found();
        let Some(site) = sites.first() else {
            return Ok(None);
        };
        let text = match &site.shape {
            Shape::Alternatives(texts) => texts.first().map(|(_, text)| text.clone()),
            Shape::Returns(texts) => texts.first().map(|(_, text)| format!("return {text};")),
            Shape::Gone(_) => Some(" if false".to_owned()),
            Shape::NotConst => None,
        };
        let Some(text) = text else {
            return Ok(None);
        };
        let before = source.get(..site.range.start).unwrap_or_default();
        let after = source.get(site.range.end..).unwrap_or_default();
        Ok(Some(format!("{before}{text}{after}")))
    }

    fn write(&mut self, range: Range<usize>, sites: &[Site]) -> Result<()> {
        let mut at = range.start;
        let mut rest = sites;
        while let Some((site, behind)) = rest.split_first() {
            let inner = behind.partition_point(|other| {
                !site.range.is_empty() && other.range.start < site.range.end
            });
            let (inner, behind) = behind.split_at(inner);
            self.copy(at..site.range.start)?;
            self.write_site(site, inner)?;
            at = site.range.end;
            rest = behind;
        }
        self.copy(at..range.end)
    }

    fn copy(&mut self, range: Range<usize>) -> Result<()> {
        self.woven.text += self.source.get(range).context("sites that overlap")?;
        Ok(())
    }

    fn write_site(&mut self, site: &Site, inner: &[Site]) -> Result<()> {
        let begin = self.woven.text.len();
        let at = self.woven.sites.len();
        match &site.shape {
            Shape::Alternatives(texts) => {
                self.woven.sites.push((begin..begin, texts.iter().map(|(id, _)| *id).collect()));
                self.woven.text.push('(');
                for (number, text) in texts {
                    self.switched(*number, text, "");
                    self.woven.text += " else ";
                }
                self.woven.text.push('{');
                self.write(site.range.clone(), inner)?;
                self.woven.text += "})";
            }
            Shape::Returns(texts) => {
                for (number, text) in texts {
                    self.switched(*number, text, "return ");
                    self.woven.text.push(' ');
                }
            }
            Shape::Gone(number) => {
                self.woven.sites.push((begin..begin, vec![*number]));
                self.woven.text += " if !";
                self.ask(*number);
            }
            Shape::NotConst => {}
        }
        let end = self.woven.text.len();
        if let Some((range, _)) = self.woven.sites.get_mut(at) {
            *range = begin..end;
        }
        Ok(())
    }

    fn ask(&mut self, number: u32) {
        self.woven.text += "::mutant_switch::on(";
        self.woven.text += &number.to_string();
        self.woven.text.push(')');
    }

    fn switched(&mut self, number: u32, text: &str, keyword: &str) {
        self.woven.text += "if ";
        self.ask(number);
        self.woven.text += " {";
        let begin = self.woven.text.len();
        self.woven.text += keyword;
        self.woven.text += text;
        if !keyword.is_empty() {
            self.woven.text.push(';');
        }
        self.woven.mutants.push((begin..self.woven.text.len(), number));
        self.woven.text.push('}');
    }
}

/// Where a span begins, counted as cargo-mutants does.
fn start(span: proc_macro2::Span) -> Place {
    let start = span.start();
    Place { line: start.line, column: start.column + 1 }
}

/// The bytes from one node's beginning to another's end.
fn bytes(first: &impl syn::spanned::Spanned, last: &impl syn::spanned::Spanned) -> Range<usize> {
    first.span().byte_range().start..last.span().byte_range().end
}

#[cfg(test)]
mod tests;
