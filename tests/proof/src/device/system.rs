//! The system area: how often the device booted, how many rings it named, whether it was stopped in
//! order; and what must be found of that.

use std::ops::Range;

use firmware::app::{System, SystemState};

use super::flash::Flash;
use super::truth::{Violation, must};
use super::world::Stop;

/// The area, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct SystemArea {
    region: Range<u32>,
    /// As the device has it in RAM.
    held: Option<System>,
    known: SystemState,
    /// Its write did not return.
    under_way: Option<SystemState>,
    /// The flash said that it could not write it.
    refused: Option<SystemState>,
    /// The highest number that a ring was named with.
    named: u32,
}

impl SystemArea {
    pub(super) fn new(region: Range<u32>) -> Self {
        let known = SystemState::default();
        Self { region, held: None, known, under_way: None, refused: None, named: 0 }
    }

    /// Where it is.
    pub(super) fn region(&self) -> Range<u32> {
        self.region.clone()
    }

    /// Which of these entries is the newest: their numbers stand behind the magic.
    pub(super) fn newest_at(flash: &[u8], entries: &[u32]) -> Option<u32> {
        let number = |at: &u32| {
            let bytes = flash.get(usize::try_from(*at).ok()?..)?.get(4..8)?;
            bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
        };
        entries.iter().copied().max_by_key(number)
    }

    /// Whether a write of it did not return.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A boot: finds what was remembered, and counts itself.
    pub(super) fn boot<const U: usize, const S: usize>(
        &mut self,
        flash: &mut Flash<U, S>,
    ) -> Result<(), Stop> {
        let system = System::open(flash, &self.region)?;
        let (found, known) = (system.state(), self.known);
        let under_way = self.under_way.take();
        // Of an entry with a flipped bit, the numbers are known; and one that was refused may be all
        // there but for one bit.
        let unclean = |state: SystemState| SystemState { clean: false, ..state };
        let refused = self.refused.take().map(unclean);
        let may_be = [Some(known), under_way, Some(unclean(known)), refused];
        must(may_be.contains(&Some(found)), || {
            format!("the system area says {found:?}, and {known:?} was written")
        })?;
        (self.known, self.held) = (found, Some(system));
        let boot = found.boot.saturating_add(1);
        self.write(flash, SystemState { boot, clean: false, ..found })
    }

    /// The next number to name a ring with: raised before it is used.
    pub(super) fn name<const U: usize, const S: usize>(
        &mut self,
        flash: &mut Flash<U, S>,
    ) -> Result<u32, Stop> {
        let formats = self.known.formats.saturating_add(1);
        must(formats > self.named, || format!("a ring was named with {formats} before"))?;
        self.write(flash, SystemState { formats, ..self.known })?;
        self.named = formats;
        Ok(formats)
    }

    /// Whether the device is stopped in order, or runs.
    pub(super) fn mark_clean<const U: usize, const S: usize>(
        &mut self,
        flash: &mut Flash<U, S>,
        clean: bool,
    ) -> Result<(), Stop> {
        if self.known.clean == clean {
            return Ok(());
        }
        self.write(flash, SystemState { clean, ..self.known })
    }

    /// The counter has to outlive the rings.
    pub(super) fn check_ring(&self, format: u32) -> Result<(), Violation> {
        let formats = self.known.formats;
        must(formats >= format, || format!("ring {format} is there, and {formats} were named"))
    }

    /// The flash refused something, and the device goes on.
    pub(super) fn failed(&mut self) -> Result<(), Violation> {
        self.refused = self.under_way.take().or(self.refused);
        let (held, known) = (self.held.map(|system| system.state()), self.known);
        must(held == Some(known), || format!("{held:?} is remembered, and {known:?} was written"))
    }

    fn write<const U: usize, const S: usize>(
        &mut self,
        flash: &mut Flash<U, S>,
        state: SystemState,
    ) -> Result<(), Stop> {
        let Some(system) = &mut self.held else {
            return Err(Violation("the system area was not opened".to_owned()).into());
        };
        self.under_way = Some(state);
        system.write(flash, state)?;
        (self.under_way, self.refused, self.known) = (None, None, state);
        Ok(())
    }
}
