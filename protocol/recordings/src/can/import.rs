//! A DBC file as a catalogue: all its signals, as a reader of its logs names and scales them.
//!
//! They come in the order of the file until there is no more room. What a catalogue cannot say, and
//! what it says in other words than the file, is remarked upon by name and line: whoever fills the
//! catalogue from the bits of a bus has to know.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use can_dbc::DbcError;
use protocol::{Catalogue, Signal};
use signals::OwnedSignal;

use super::catalogue::{CATALOGUE_BYTES_MAX, Room, UNIT_MAX, label, path};
use super::database::{CanSignal, Database, Message, read_text};
use super::step::{NoSteps, Scale};
use crate::ReadError;
use crate::glob::matches_any;

/// The message in which a DBC keeps the signals that belong to none.
const NO_MESSAGE: &str = "VECTOR__INDEPENDENT_SIG_MSG";

/// What a file came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Import {
    /// What was taken, in the order of the file.
    pub signals: Vec<OwnedSignal>,
    /// Signals of the file, taken or not.
    pub found: usize,
    /// What there is to say of single signals, in the order of the file.
    pub remarks: Vec<Remark>,
    /// Patterns that no signal of the file is like.
    pub idle: Vec<String>,
}

/// Something to be said of a signal.
#[derive(Clone, PartialEq, Debug)]
pub struct Remark {
    /// Where the signal stands in the file, from 1; 0 if it was not found again.
    pub line: usize,
    /// `MESSAGE.SIGNAL`.
    pub signal: String,
    /// What.
    pub what: Said,
}

/// What is said of a signal.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Said {
    /// Left out: what its bits say is not counted in steps.
    #[error("{0}")]
    NoSteps(NoSteps),
    /// Left out: no frame has it.
    #[error("it belongs to no message")]
    NoMessage,
    /// Left out: the path is too long.
    #[error("its path would have {0} bytes; {max} is the most", max = Signal::PATH_MAX)]
    Path(usize),
    /// Left out: the file has another one of its message and name.
    #[error("its message has another one of this name before it")]
    Twice,
    /// Left out, as all behind it are: the catalogue is full.
    #[error(
        "a catalogue holds {max} signals or {CATALOGUE_BYTES_MAX} bytes",
        max = Catalogue::SIGNALS_MAX
    )]
    NoRoom,
    /// Taken without its unit.
    #[error("its unit has {0} bytes, and {UNIT_MAX} is the most: it is left out")]
    Unit(usize),
    /// Taken with the step that is nearest to its factor.
    #[error("its factor has more digits than a step; the nearest step is {0}/{1}")]
    Nearest(u32, u32),
    /// Taken; the raw value is another than the bits' number.
    #[error("its raw value is {0} x the bits' number{added}: a step is positive, an offset whole", added = added(*.1))]
    Turned(i128, i128),
}

impl Said {
    /// Whether the signal is in the catalogue all the same.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Unit(_) | Self::Nearest(..) | Self::Turned(..))
    }
}

impl Import {
    /// Reads a file, and takes the signals that are like one of the patterns (`MESSAGE.SIGNAL`, with *
    /// and ?); without any, all.
    pub fn open(file: &Path, patterns: &[String]) -> Result<Self, ReadError> {
        let text = read_text(file)?;
        Self::of(&text, patterns).map_err(|reason| ReadError::Dbc { path: file.to_owned(), reason })
    }

    /// The same of a file's text.
    pub fn of(text: &str, patterns: &[String]) -> Result<Self, DbcError> {
        let database = Database::parse(text)?;
        let import =
            Self { signals: Vec::new(), found: 0, remarks: Vec::new(), idle: patterns.to_vec() };
        let mut taking = Taking {
            import,
            patterns,
            lines: lines(text),
            room: Room::default(),
            paths: HashSet::new(),
        };
        let mut labels = HashMap::new();
        for message in database.messages() {
            let label = label(&message.name, "", message.id, &mut labels);
            for signal in &message.signals {
                taking.meet(message, signal, &format!("{label}.{}", signal.name));
            }
        }
        Ok(taking.import)
    }
}

fn added(addend: i128) -> String {
    match addend {
        0 => String::new(),
        1.. => format!(" + {addend}"),
        ..0 => format!(" - {}", addend.unsigned_abs()),
    }
}

/// The line of each signal, by the names of its message and its own.
fn lines(text: &str) -> HashMap<(String, String), usize> {
    let mut lines = HashMap::new();
    let mut message = "";
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split([' ', '\t', ':']).filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next()) {
            (Some("BO_"), Some(_), Some(name)) => message = name,
            (Some("SG_"), Some(name), _) => {
                lines.entry((message.to_owned(), name.to_owned())).or_insert(number);
            }
            _ => {}
        }
    }
    lines
}

/// An import on its way.
struct Taking<'a> {
    import: Import,
    patterns: &'a [String],
    lines: HashMap<(String, String), usize>,
    room: Room,
    paths: HashSet<String>,
}

impl Taking<'_> {
    fn meet(&mut self, message: &Message, signal: &CanSignal, name: &str) {
        self.import.found += 1;
        self.import.idle.retain(|pattern| !matches_any(std::slice::from_ref(pattern), name));
        if !self.patterns.is_empty() && !matches_any(self.patterns, name) {
            return;
        }
        let key = (message.name.clone(), signal.name.clone());
        let line = self.lines.get(&key).copied().unwrap_or_default();
        let said = match self.take(message, signal, name) {
            Ok(said) => said,
            Err(why) => vec![why],
        };
        let remarks = said.into_iter().map(|what| Remark { line, signal: name.to_owned(), what });
        self.import.remarks.extend(remarks);
    }

    /// Takes it, and what there is to say of that; or why not.
    fn take(
        &mut self,
        message: &Message,
        signal: &CanSignal,
        name: &str,
    ) -> Result<Vec<Said>, Said> {
        if message.name == NO_MESSAGE {
            return Err(Said::NoMessage);
        }
        let scale = signal.scale.map_err(Said::NoSteps)?;
        let path = path(name);
        if path.len() > Signal::PATH_MAX {
            return Err(Said::Path(path.len()));
        }
        if self.paths.contains(&path) {
            return Err(Said::Twice);
        }
        let unit = if signal.unit.len() > UNIT_MAX { "" } else { &signal.unit };
        let (raw_min, raw_max) = signal.range;
        let entry = Signal { path: &path, unit, step: scale.step, raw_min, raw_max };
        if !self.room.takes(&entry) {
            return Err(Said::NoRoom);
        }
        self.import.signals.push(OwnedSignal::from(&entry));
        self.paths.insert(path);
        Ok(changes(signal, &scale))
    }
}

/// What the catalogue says otherwise than the file.
fn changes(signal: &CanSignal, scale: &Scale) -> Vec<Said> {
    let unit = (signal.unit.len() > UNIT_MAX).then_some(Said::Unit(signal.unit.len()));
    let step = scale.step;
    let nearest = (!scale.is_exact).then_some(Said::Nearest(step.numerator, step.denominator));
    let turned = scale.turned().map(|(multiplier, addend)| Said::Turned(multiplier, addend));
    [unit, nearest, turned].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use signals::OwnedCatalogue;

    use super::*;

    const DBC: &str = "VERSION \"\"\n\nBU_: X\n\n\
        BO_ 9 imu: 8 X\n \
        SG_ Valid : 0|1@1+ (1,0) [0|1] \"\" X\n \
        SG_ X : 1|10@1+ (0.125,-64) [-64|63.875] \"m/s^2\" X\n \
        SG_ Raw : 32|32@1- (1,0) [0|0] \"\" X\n\n\
        BO_ 2364540158 EEC1: 8 X\n \
        SG_ Turned : 0|8@1- (-0.1,0) [-10|10] \"deg\" X\n \
        SG_ Nothing : 8|8@1+ (0,1) [0|0] \"\" X\n \
        SG_ Pedal : 16|8@1+ (0.159375,-75.555) [0|0] \"%\" X\n \
        SG_ Fine : 24|8@1+ (0.004901594652,0) [0|1] \"m\" X\n \
        SG_ Share : 32|8@1+ (0.392156862745098,0) [0|100] \"%\" X\n\n\
        BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 X\n \
        SG_ Alone : 0|8@1+ (1,0) [0|0] \"\" X\n\n\
        SIG_VALTYPE_ 9 Raw : 1;\n";

    fn import(text: &str, patterns: &[&str]) -> Import {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Import::of(text, &patterns).unwrap()
    }

    /// As it is written, which must be what is read again.
    fn written(import: &Import) -> String {
        let catalogue = OwnedCatalogue {
            id: protocol::CatalogueId::default(),
            tick_ms: 1,
            signals: import.signals.clone(),
            hints: signals::OwnedHints::default(),
            thinning: Vec::new(),
        };
        let text = signals::write(&catalogue, "");
        assert_eq!(signals::read(&text).unwrap().signals, import.signals);
        text
    }

    fn entry<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        let path = format!("path = \"Vehicle.Private.{name}\"");
        let lines = text.lines().skip_while(move |line| *line != path).skip(1);
        lines.take_while(|line| !line.is_empty()).collect()
    }

    #[test]
    fn signals_have_the_paths_steps_units_and_ranges_of_the_file() {
        let text = written(&import(DBC, &[]));
        assert_eq!(entry(&text, "imu.Valid"), ["range = [0, 1]"]);
        let x = ["unit = \"m/s^2\"", "step = \"1/8\"", "offset = -64", "range = [-64, 63.875]"];
        assert_eq!(entry(&text, "imu.X"), x);
        let turned = ["unit = \"deg\"", "step = \"1/10\"", "range = [-10, 10]"];
        assert_eq!(entry(&text, "EEC1.Turned"), turned);
        let pedal = entry(&text, "EEC1.Pedal");
        assert_eq!(pedal.first().zip(pedal.get(1)), Some((&"unit = \"%\"", &"step = \"3/1600\"")));
        assert_eq!(text.matches("[[signal]]").count(), 6);
    }

    #[test]
    fn what_a_catalogue_cannot_say_is_told_by_name_and_line() {
        let import = import(DBC, &[]);
        let said: Vec<String> = import
            .remarks
            .iter()
            .map(|Remark { line, signal, what }| {
                format!("{line} {signal} {} {what}", if what.is_taken() { "+" } else { "-" })
            })
            .collect();
        let [raw, turned, nothing, pedal, fine, share, alone] = &said[..] else {
            panic!("{said:#?}")
        };
        assert_eq!(raw, "8 imu.Raw - an IEEE float, which has no steps");
        assert!(
            turned.starts_with("11 EEC1.Turned + its raw value is -1 x the bits' number: a"),
            "{turned}"
        );
        assert_eq!(nothing, "12 EEC1.Nothing - a factor of 0: it says nothing");
        assert!(
            pedal.starts_with("13 EEC1.Pedal + its raw value is 85 x the bits' number - 40296: a"),
            "{pedal}"
        );
        assert!(fine.starts_with("14 EEC1.Fine + its factor has more digits"), "{fine}");
        assert!(share.starts_with("15 EEC1.Share + its factor"), "{share}");
        assert_eq!(alone, "18 VECTOR__INDEPENDENT_SIG_MSG.Alone - it belongs to no message");
        assert_eq!((import.found, import.signals.len()), (9, 6));
    }

    #[test]
    fn patterns_choose_and_those_like_nothing_are_named() {
        let import = import(DBC, &["imu.*", "Vehicle.Private.*.Turned", "ABS.*"]);
        let paths: Vec<&str> = import.signals.iter().map(|signal| signal.path.as_str()).collect();
        let wanted = ["imu.Valid", "imu.X", "EEC1.Turned"];
        assert_eq!(paths, wanted.map(|name| format!("Vehicle.Private.{name}")));
        assert_eq!(import.idle, ["ABS.*"]);
        assert_eq!(import.remarks.len(), 2, "only of those that were asked for");
    }

    #[test]
    fn what_finds_no_room_is_left_out_from_there_on() {
        let signals = |count: usize| -> String {
            let signal = |at| format!(" SG_ S{at} : 0|8@1+ (1,0) [0|0] \"\" X\n");
            (0..count).map(signal).collect::<Vec<String>>().concat()
        };
        let front = "VERSION \"\"\n\nBU_: X\n\n";
        let many = import(&format!("{front}BO_ 1 m: 8 X\n{}", signals(70)), &[]);
        assert_eq!((many.signals.len(), many.remarks.len()), (64, 6));
        let first = Remark { line: 70, signal: "m.S64".to_owned(), what: Said::NoRoom };
        assert_eq!(many.remarks.first(), Some(&first));
        written(&many);

        let long = "m".repeat(96 - "Vehicle.Private..S00".len());
        let wide = import(&format!("{front}BO_ 1 {long}: 8 X\n{}", signals(60)), &[]);
        assert!((30..60).contains(&wide.signals.len()), "{}", wide.signals.len());
        written(&wide);
        let longer = import(&format!("{front}BO_ 1 {long}m: 8 X\n{}", signals(11)), &[]);
        let too_long = Remark { line: 16, signal: format!("{long}m.S10"), what: Said::Path(97) };
        assert_eq!((longer.signals.len(), &longer.remarks[..]), (10, &[too_long][..]));
    }

    #[test]
    fn two_messages_of_one_name_are_told_apart_and_two_signals_are_not() {
        let dbc = "VERSION \"\"\n\nBU_: X\n\n\
            BO_ 1 m: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ S : 8|8@1+ (1,0) [0|0] \"\" X\n\n\
            BO_ 26 m: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"a unit of more than thirty-two bytes\" X\n";
        let import = import(dbc, &[]);
        let paths: Vec<&str> = import.signals.iter().map(|signal| signal.path.as_str()).collect();
        assert_eq!(paths, ["Vehicle.Private.m.S", "Vehicle.Private.m_1A.S"]);
        let said: Vec<&Said> = import.remarks.iter().map(|remark| &remark.what).collect();
        assert_eq!(said, [&Said::Twice, &Said::Unit(36)]);
        written(&import);
    }
}
