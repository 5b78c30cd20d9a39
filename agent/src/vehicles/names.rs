//! What an operator calls things: a vehicle, and the group, tenant and region it belongs to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or too long.
    #[error("1 to {} bytes", VehicleId::LEN_MAX)]
    Length,
    /// Control characters cannot stand in a document's attribute; blanks at an end are a slip.
    #[error("no control characters, and no blank at either end")]
    Character,
    /// It would read as an option on a command line.
    #[error("does not begin with `-`")]
    Dash,
}

/// A vehicle's key: whatever the operator knows it by, a fleet number, a VIN, a plate.
///
/// 1 to 64 bytes of UTF-8 without control characters, no blank at either end, no `-` in front.
/// Upper and lower case are different.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VehicleId(Box<str>);

/// The name of a group, tenant or region, or a label; the same limits as a [`VehicleId`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

/// A name as an order says it: an empty text takes one away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Said(pub Option<Name>);

impl FromStr for Said {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|name| Self(Some(name))) }
    }
}

impl TryFrom<String> for Said {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Said> for String {
    fn from(said: Said) -> Self {
        said.0.map(Self::from).unwrap_or_default()
    }
}

impl VehicleId {
    /// The longest one, in bytes.
    pub const LEN_MAX: usize = 64;
}

fn checked(text: &str) -> Result<Box<str>, NameError> {
    if text.is_empty() || text.len() > VehicleId::LEN_MAX {
        return Err(NameError::Length);
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(NameError::Character);
    }
    if text.starts_with('-') {
        return Err(NameError::Dash);
    }
    Ok(text.into())
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                checked(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

text! { VehicleId Name }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_people_use() {
        for good in
            ["4711", "WVWZZZ1JZXW000001", "M-AB 1234", "Bus 7 / Nord", "é".repeat(32).as_str()]
        {
            assert_eq!(good.parse::<VehicleId>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", NameError::Length),
            ("x".repeat(65).as_str(), NameError::Length),
            (" a", NameError::Character),
            ("a\n", NameError::Character),
            ("a\u{7f}b", NameError::Character),
            ("-a", NameError::Dash),
        ] {
            assert_eq!(bad.parse::<VehicleId>().unwrap_err(), why, "{bad:?}");
            assert_eq!(bad.parse::<Name>().unwrap_err(), why, "{bad:?}");
        }
        assert!(serde_json::from_str::<VehicleId>("\"\"").is_err(), "nor through JSON");
    }
}
