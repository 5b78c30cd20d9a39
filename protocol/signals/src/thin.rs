//! What a signal leaves out, as `signals.toml` says it: `thin = { dead_band = 0.5, interval_ms = 1000 }`.

use std::collections::HashMap;

use protocol::SignalIndex;
use protocol::thinning::{Skip, Take, Thin, Thinning, Window, finer};
use serde::Deserialize;

use super::decimal::{Decimal, physical};
use super::owned::{OwnedCatalogue, OwnedSignal};

/// What `thin` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    #[serde(default)]
    on_change: bool,
    dead_band: Option<f64>,
    dead_band_raw: Option<u32>,
    #[serde(default)]
    interval_ms: u32,
    #[serde(default)]
    silence_ms: u32,
    min_of: Option<String>,
    mean_of: Option<String>,
    max_of: Option<String>,
    window_ms: Option<u32>,
}

/// What else there is in the file.
pub struct Surroundings<'a> {
    /// Length of one tick.
    pub tick_ms: u32,
    /// All signals; none where something is wrong with it.
    pub signals: &'a [Option<OwnedSignal>],
    /// Where each is.
    pub places: &'a HashMap<String, u8>,
}

impl Surroundings<'_> {
    fn signal(&self, place: u8) -> Option<&OwnedSignal> {
        self.signals.get(usize::from(place))?.as_ref()
    }
}

impl Entry {
    /// How the signal at `own` is thinned, or what is wrong with that; nothing if something is wrong with
    /// a signal that it is about.
    pub fn thinning(&self, own: u8, around: &Surroundings<'_>) -> Result<Option<Thinning>, String> {
        let Some(signal) = around.signal(own) else { return Ok(None) };
        let of =
            [(&self.min_of, Take::Min), (&self.mean_of, Take::Mean), (&self.max_of, Take::Max)];
        let mut windows = of.iter().filter_map(|(of, take)| Some((of.as_ref()?, *take)));
        let how = match (windows.next(), windows.next()) {
            (Some(_), Some(_)) => Err("a signal is one of min_of, mean_of and max_of".to_owned()),
            (Some((of, take)), None) => {
                self.window(signal, of, take, around).map(|window| window.map(Thin::Window))
            }
            (None, _) => self.skip(signal).map(Thin::Skip).map(Some),
        };
        Ok(how?.map(|how| Thinning { signal: SignalIndex(own), how }))
    }

    fn skip(&self, signal: &OwnedSignal) -> Result<Skip, String> {
        let Self {
            on_change, dead_band, dead_band_raw, interval_ms, silence_ms, window_ms, ..
        } = *self;
        if window_ms.is_some() {
            return Err("window_ms says of no signal what: min_of, mean_of or max_of".to_owned());
        }
        let dead_band = match (on_change, dead_band, dead_band_raw) {
            (true, None, None) => Some(0),
            (false, None, raw) => raw,
            (false, Some(band), None) => Some(steps(band, signal)?),
            _ => {
                let what = "on_change is a dead_band of 0, dead_band_raw one in steps: one of them \
                            is enough";
                return Err(what.to_owned());
            }
        };
        if dead_band.is_none() && interval_ms == 0 {
            return Err("thin says on_change, dead_band, interval_ms, or a window".to_owned());
        }
        if silence_ms > 0 && dead_band.is_none() {
            return Err("silence_ms ends the silence of on_change or of a dead_band".to_owned());
        }
        if silence_ms > 0 && silence_ms < interval_ms {
            return Err("silence_ms is less than interval_ms".to_owned());
        }
        Ok(Skip { dead_band, interval_ms, silence_ms })
    }

    fn window(
        &self,
        own: &OwnedSignal,
        of: &str,
        take: Take,
        around: &Surroundings<'_>,
    ) -> Result<Option<Window>, String> {
        let Self { on_change, dead_band, dead_band_raw, interval_ms, silence_ms, .. } = *self;
        let has_band = on_change || dead_band.is_some() || dead_band_raw.is_some();
        if has_band || interval_ms > 0 || silence_ms > 0 {
            return Err("a window takes all readings: it goes with nothing else".to_owned());
        }
        if of == own.path {
            return Err("a window of the signal itself".to_owned());
        }
        let place =
            *around.places.get(of).ok_or_else(|| format!("no signal {of:?} in this file"))?;
        let (name, tick_ms) = (take.name(), around.tick_ms);
        let length_ms = match self.window_ms {
            Some(ms) if ms > 0 && ms.checked_rem(tick_ms) == Some(0) => ms,
            _ => {
                return Err(format!(
                    "{name}_of needs window_ms, a multiple of tick_ms ({tick_ms})"
                ));
            }
        };
        let Some(source) = around.signal(place) else { return Ok(None) };
        match finer(&source.borrowed(), &own.borrowed()) {
            Some(1) => {}
            Some(_) if take == Take::Mean => {}
            _ if take == Take::Mean => {
                let most = Thinning::FINER_MAX;
                return Err(format!(
                    "a mean has the unit and offset of {of}, and its step or a whole part of it, \
                     down to 1/{most}"
                ));
            }
            _ => return Err(format!("{name}_of has the unit, step and offset of {of}")),
        }
        Ok(Some(Window { of: SignalIndex(place), take, length_ms }))
    }
}

/// A distance in the signal's unit, in its steps.
fn steps(band: f64, signal: &OwnedSignal) -> Result<u32, String> {
    let step = protocol::Step { offset: 0, ..signal.step };
    let raw = Decimal::of(band).and_then(|band| band.in_steps(&step));
    let (numerator, denominator) = (step.numerator, step.denominator);
    match raw.map(|(raw, is_whole)| (u32::try_from(raw), is_whole)) {
        Some((Ok(raw), true)) => Ok(raw),
        Some((Ok(_), false)) => Err(format!(
            "the dead_band {band} is no whole number of steps of {numerator}/{denominator}; in steps: \
             dead_band_raw"
        )),
        _ => Err(format!(
            "the dead_band {band}: from 0 to 4294967295 steps of {numerator}/{denominator}"
        )),
    }
}

/// `thin = {…}`, as it is read again; nothing if there is none.
pub fn written(catalogue: &OwnedCatalogue, place: u8) -> Option<String> {
    let thinning = catalogue.thinning.iter().find(|thinning| thinning.signal.0 == place)?;
    let signal = catalogue.signals.get(usize::from(place))?;
    let mut said = Vec::new();
    match thinning.how {
        Thin::Skip(Skip { dead_band, interval_ms, silence_ms }) => {
            match dead_band {
                None => {}
                Some(0) => said.push("on_change = true".to_owned()),
                Some(band) => said.push(match exact(band, signal) {
                    Some(distance) => format!("dead_band = {distance}"),
                    None => format!("dead_band_raw = {band}"),
                }),
            }
            for (name, ms) in [("interval_ms", interval_ms), ("silence_ms", silence_ms)] {
                if ms > 0 {
                    said.push(format!("{name} = {ms}"));
                }
            }
        }
        Thin::Window(Window { of, take, length_ms }) => {
            let of = &catalogue.signals.get(usize::from(of.0))?.path;
            said.push(format!("{}_of = {}", take.name(), toml::Value::from(of.as_str())));
            said.push(format!("window_ms = {length_ms}"));
        }
    }
    Some(format!("thin = {{ {} }}", said.join(", ")))
}

/// A number of steps in the signal's unit, whatever its offset, if it has an end.
fn exact(steps: u32, signal: &OwnedSignal) -> Option<String> {
    let step = protocol::Step { offset: 0, ..signal.step };
    physical(i64::from(steps), &step)
}

/// The same, or as near as a double is.
pub fn distance(steps: u32, signal: &OwnedSignal) -> String {
    let step = signal.step;
    exact(steps, signal).unwrap_or_else(|| {
        let numerator = f64::from(steps) * f64::from(step.numerator);
        (numerator / f64::from(step.denominator)).to_string()
    })
}
