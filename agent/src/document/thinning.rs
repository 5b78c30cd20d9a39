//! What was left out of a signal on purpose, for the documents that have a value of it.

use std::fmt::Write as _;
use std::sync::Arc;

use protocol::thinning::{Skip, Thin, Window};
use protocol::{Catalogue, Lane, SignalIndex};
use signals::{OwnedSignal, distance};

/// What documents say of a signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignalThinning {
    text: Arc<str>,
    is_window: bool,
}

impl SignalThinning {
    /// Of a lane's samples: of latest values only windows are.
    pub fn of(&self, lane: Lane) -> Option<&str> {
        (self.is_window || lane != Lane::Latest).then_some(&*self.text)
    }
}

/// A signal's part of a document's `thinning`: `PATH;key=value;…`, with the keys of `signals.toml`;
/// nothing if all readings are there.
pub fn thinning(catalogue: &Catalogue<'_>, signal: SignalIndex) -> Option<SignalThinning> {
    let thinning = catalogue.thinning.iter().find(|thinning| thinning.signal == signal)?;
    let own = catalogue.get(signal)?;
    let mut text = own.path.to_owned();
    // A string takes everything.
    let mut put = |key: &str, value: &dyn std::fmt::Display| {
        let _ignored = write!(text, ";{key}={value}");
    };
    match thinning.how {
        Thin::Skip(Skip { dead_band, interval_ms, silence_ms }) => {
            if let Some(band) = dead_band {
                put("dead_band", &distance(band, &OwnedSignal::from(own)));
            }
            for (key, ms) in [("interval_ms", interval_ms), ("silence_ms", silence_ms)] {
                if ms > 0 {
                    put(key, &ms);
                }
            }
        }
        Thin::Window(Window { of, take, length_ms }) => {
            let of = catalogue.get(of).map_or("", |of| of.path);
            put(&format!("{}_of", take.name()), &of);
            put("window_ms", &length_ms);
        }
    }
    let is_window = matches!(thinning.how, Thin::Window(_));
    Some(SignalThinning { text: text.into(), is_window })
}
