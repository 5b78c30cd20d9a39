//! The members of a JSON object whose values are numbers, as they stand in its text.
//!
//! No float: what a reader makes of the digits is its own.

/// Walks an object of numbers in the order of its text.
#[derive(Clone, Debug)]
pub struct Numbers<'a> {
    /// From the brace or comma in front of the next member; nothing at the end.
    rest: Option<&'a str>,
}

/// `data` is no object of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("data is no object of numbers")]
pub struct NoNumbers;

impl<'a> Iterator for Numbers<'a> {
    type Item = Result<(&'a str, &'a str), NoNumbers>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let body = rest.strip_prefix(['{', ','])?.trim_ascii_start();
        if rest.starts_with('{') && body == "}" {
            return None;
        }
        Some(self.member(body).ok_or(NoNumbers))
    }
}

impl<'a> Numbers<'a> {
    /// Of the text of an object, braces included.
    pub fn of(object: &'a str) -> Self {
        Self { rest: Some(object) }
    }

    fn member(&mut self, body: &'a str) -> Option<(&'a str, &'a str)> {
        let (name, rest) = body.strip_prefix('"')?.split_once('"')?;
        let rest = rest.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
        let end = rest.find(|c: char| c == ',' || c == '}' || c.is_ascii_whitespace())?;
        let (number, rest) = rest.split_at_checked(end)?;
        let rest = rest.trim_ascii_start();
        if rest.starts_with(',') {
            self.rest = Some(rest);
        } else if rest != "}" {
            return None;
        }
        Some((name, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(object: &str) -> Result<Vec<(&str, &str)>, NoNumbers> {
        Numbers::of(object).collect()
    }

    #[test]
    fn members_stand_as_they_are_written() {
        assert_eq!(numbers("{}"), Ok(vec![]));
        let two = Ok(vec![("Vehicle.Speed", "41.30"), ("b", "-7")]);
        assert_eq!(numbers(r#"{"Vehicle.Speed":41.30,"b":-7}"#), two);
        assert_eq!(numbers("{ \"Vehicle.Speed\" : 41.30 ,\t\"b\": -7 }"), two);
    }

    #[test]
    fn anything_else_ends_it() {
        for object in ["", "x", "{", "{1}", "{\"a\"}", "{\"a\":1", "{\"a\":1}}"] {
            assert_eq!(numbers(object).ok().filter(|found| !found.is_empty()), None, "{object}");
        }
    }
}
