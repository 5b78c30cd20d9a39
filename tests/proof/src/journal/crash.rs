//! What a power cut can leave of a disk: any of the unsynced writes, sector by sector and torn
//! within one, any of the lengths, any of the names.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::content::{Content, sectors_of};
use super::holding::{Change, Fate, Holding, Inode, Names};
use crate::chance::Chance;

/// What is done to a file on the way to what is left of it.
#[derive(Debug)]
enum Part {
    Put { at: usize, bytes: Arc<[u8]>, from: usize, len: usize },
    Grow(usize),
    SetLen(usize),
}

/// A part that is kept or not; the choice is by number, and none is kept always.
#[derive(Debug)]
struct Step {
    part: Part,
    choice: Option<usize>,
}

/// A record of what was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chosen {
    kept: Vec<bool>,
    /// This one is kept in part: its first bytes, or if negative all but its first.
    torn: Option<(usize, isize)>,
}

impl std::fmt::Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept = self.kept.iter().map(|kept| if *kept { '1' } else { '0' });
        write!(f, "kept {}", kept.collect::<String>())?;
        match self.torn {
            Some((choice, cut)) => write!(f, ", {choice} torn at {cut}"),
            None => Ok(()),
        }
    }
}

/// A power cut, with all that it may leave.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    holding: &'a Holding,
    files: Vec<(usize, Vec<Step>)>,
    names: Vec<Option<usize>>,
    /// Of each choice: how many bytes it has, if it can be torn.
    choices: Vec<usize>,
}

/// The files that are left.
#[derive(Clone, Debug)]
pub(super) struct Image(pub(super) Vec<(Arc<Path>, Content)>);

impl Image {
    /// Of names, lengths and bytes, and of nothing else.
    pub(super) fn hash(&self) -> u128 {
        let mut hash = Sha256::new();
        for (path, content) in &self.0 {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update([0]);
            content.hash_into(&mut hash);
        }
        hash.finalize().first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half))
    }
}

impl<'a> Cut<'a> {
    pub(super) fn of(holding: &'a Holding) -> Self {
        let mut cut = Self { holding, files: Vec::new(), names: Vec::new(), choices: Vec::new() };
        let mut is_named = vec![false; holding.inodes.len()];
        let mut names: Names = holding.durable.clone();
        let note = |names: &Names, is_named: &mut Vec<bool>| {
            for inode in names.values() {
                if let Some(is_named) = is_named.get_mut(*inode) {
                    *is_named = true;
                }
            }
        };
        note(&names, &mut is_named);
        for (change, fate) in &holding.names {
            cut.names.push((*fate != Fate::Sure).then_some(cut.choices.len()));
            if *fate != Fate::Sure {
                cut.choices.push(0);
            }
            change.apply(&mut names);
            note(&names, &mut is_named);
        }
        for (index, inode) in holding.inodes.iter().enumerate() {
            if is_named.get(index) == Some(&true) && !inode.changes.is_empty() {
                let steps = cut.steps_of(inode);
                cut.files.push((index, steps));
            }
        }
        cut
    }

    fn choice(&mut self, fate: Fate, torn_len: usize) -> Option<usize> {
        if fate == Fate::Sure {
            return None;
        }
        self.choices.push(torn_len);
        Some(self.choices.len() - 1)
    }

    fn steps_of(&mut self, inode: &Inode) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut touched: Vec<usize> = Vec::new();
        let mut was_cut = false;
        for (change, fate) in &inode.changes {
            match change {
                Change::SetLen(len) => {
                    was_cut = true;
                    let choice = self.choice(*fate, 0);
                    steps.push(Step { part: Part::SetLen(*len), choice });
                }
                Change::Write { at, bytes } => {
                    for (stands, part) in sectors_of(*at, bytes) {
                        let sector = stands / super::content::SECTOR_LEN;
                        let is_there = inode.durable.holds(stands, part);
                        if is_there && !was_cut && !touched.contains(&sector) {
                            continue;
                        }
                        touched.push(sector);
                        let choice = self.choice(*fate, part.len());
                        let (from, len) = (stands - at, part.len());
                        let bytes = Arc::clone(bytes);
                        steps.push(Step {
                            part: Part::Put { at: stands, bytes, from, len },
                            choice,
                        });
                    }
                    let end = at.saturating_add(bytes.len());
                    if end > inode.durable.len() || was_cut {
                        let choice = self.choice(*fate, 0);
                        steps.push(Step { part: Part::Grow(end), choice });
                    }
                }
            }
        }
        steps
    }

    /// How many things are kept or not.
    pub(super) fn choices(&self) -> usize {
        self.choices.len()
    }

    /// All there is to choose if these are few; otherwise so many of them, drawn. Some are torn.
    pub(super) fn chosen(&self, bits: usize, draws: usize, chance: &mut Chance) -> Vec<Chosen> {
        let count = self.choices.len();
        let mut all = Vec::new();
        if count <= bits {
            for mask in 0..1_u64 << count {
                let kept = (0..count).map(|bit| mask >> bit & 1 == 1).collect();
                all.push(Chosen { kept, torn: None });
            }
        } else {
            all.push(Chosen { kept: vec![false; count], torn: None });
            all.push(Chosen { kept: vec![true; count], torn: None });
            for _ in 2..draws {
                all.push(Chosen { kept: draw(count, chance), torn: None });
            }
        }
        let torn: Vec<usize> = (0..count)
            .filter(|choice| self.choices.get(*choice).is_some_and(|len| *len > 1))
            .collect();
        for _ in 0..(draws / 4).min(2 * torn.len()) {
            let Some(choice) = chance.pick(&torn) else { break };
            let len = self.choices.get(choice).copied().unwrap_or(0);
            let cut = isize::try_from(1 + chance.index(len - 1)).unwrap_or(1);
            let cut = if chance.one_in(3) { -cut } else { cut };
            let mut kept = draw(count, chance);
            if let Some(kept) = kept.get_mut(choice) {
                *kept = true;
            }
            all.push(Chosen { kept, torn: Some((choice, cut)) });
        }
        all
    }

    /// What is left if this is.
    pub(super) fn image(&self, chosen: &Chosen) -> Image {
        let is_kept = |choice: Option<usize>| {
            choice.is_none_or(|choice| chosen.kept.get(choice).copied().unwrap_or(false))
        };
        let mut names = self.holding.durable.clone();
        for ((change, _), choice) in self.holding.names.iter().zip(&self.names) {
            if is_kept(*choice) {
                change.apply(&mut names);
            }
        }
        let mut left = self
            .files
            .iter()
            .map(|(index, steps)| {
                let durable = self.holding.inodes.get(*index).map(|inode| inode.durable.clone());
                let mut content = durable.unwrap_or_default();
                for step in steps.iter().filter(|step| is_kept(step.choice)) {
                    let torn = chosen.torn.filter(|(choice, _)| Some(*choice) == step.choice);
                    step.part.apply(&mut content, torn.map(|(_, cut)| cut));
                }
                content.hide();
                (*index, content)
            })
            .collect::<Vec<_>>();
        let content_of = |inode: usize, left: &mut Vec<(usize, Content)>| {
            let own = left.iter_mut().find(|(index, _)| *index == inode);
            let own = own.map(|(_, content)| std::mem::take(content));
            own.or_else(|| Some(self.holding.inodes.get(inode)?.durable.clone()))
                .unwrap_or_default()
        };
        Image(names.into_iter().map(|(path, inode)| (path, content_of(inode, &mut left))).collect())
    }
}

impl Part {
    fn apply(&self, content: &mut Content, torn: Option<isize>) {
        match self {
            Self::SetLen(len) => content.set_len(*len),
            Self::Grow(len) => content.resize(content.len().max(*len)),
            Self::Put { at, bytes, from, len } => {
                let part = bytes.get(*from..from + len).unwrap_or_default();
                let (skip, part) = match torn {
                    None => (0, part),
                    Some(cut) if cut > 0 => (0, part.get(..cut.unsigned_abs()).unwrap_or(part)),
                    Some(cut) => {
                        let skip = cut.unsigned_abs();
                        (skip, part.get(skip..).unwrap_or_default())
                    }
                };
                content.put(at + skip, part);
            }
        }
    }
}

fn draw(count: usize, chance: &mut Chance) -> Vec<bool> {
    let of_four = 1 + chance.below(3);
    (0..count).map(|_| chance.below(4) < of_four).collect()
}
