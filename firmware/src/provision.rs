//! What a device is told before its first boot, kept in its flash: who it is, and how it reaches its
//! agent.
//!
//! Two sectors, used in turn, one record in each; the newer whole one counts, so that a cut while it
//! is changed leaves what was there before.
//!
//! ```text
//! | "MPc" 1 | number (4) | length (2) | 0 (2) | CRC-32/ISCSI (4) | Provision in postcard | 0xff.. |
//! ```
//!
//! All numbers little-endian; the checksum is of number, length and content. It stands there in the
//! clear, as the secret would in any flash that its reader may open: a part whose flash can be read
//! protects it by its own means.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use protocol::{DeviceId, Generation, Registration, Secret};
use serde::{Deserialize, Serialize};

use crate::checksum::CRC;

const MAGIC: [u8; 4] = *b"MPc\x01";
const HEADER_LEN: usize = 16;
const CHECKSUM_AT: usize = 12;
/// Most bytes of the content.
pub const CONTENT_LEN_MAX: usize = 240;
/// Bytes of a record: a multiple of every write unit there is.
pub const RECORD_LEN: usize = HEADER_LEN + CONTENT_LEN_MAX;
/// Of the two, this many sectors.
const SECTORS: u32 = 2;

/// An IPv4 address.
pub type Address = [u8; 4];

/// What a device is told.
#[derive(Clone, Debug)]
pub struct Provision {
    /// Who it is.
    pub device: DeviceId,
    /// Its secret.
    pub secret: Secret,
    /// Which of its secrets that is.
    pub generation: Generation,
    /// In which registration, if that is known.
    pub registration: Option<Registration>,
    /// Drawn at random when this is written: its chance begins with it, so that two devices that do
    /// the same at the same time draw different numbers.
    pub seed: [u8; 32],
    /// The way to its agent.
    pub link: LinkChoice,
    /// Seconds between two heartbeats; 0 for none.
    pub heartbeat_s: u16,
    /// Milliseconds between two readings of each simulated channel, on a board that has such; 0 for a
    /// second.
    pub simulated_ms: u16,
}

/// The way to an agent. Append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LinkChoice {
    /// MQTT over TCP over Ethernet.
    Ethernet {
        /// Where its own address is from.
        addressing: Addressing,
        /// Address of the agent or broker.
        agent: Address,
        /// Its port.
        port: u16,
    },
    /// MQTT over packets on the serial line.
    Serial,
}

/// Where a device's own address is from. Append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Addressing {
    /// A DHCP server says it.
    Dhcp,
    /// It stands here.
    Static {
        /// The address.
        address: Address,
        /// Bits of it that are the network's, 0 to 32.
        prefix: u8,
        /// Who forwards to other networks, if anybody does.
        gateway: Option<Address>,
    },
}

/// As it is stored; what was added since stands behind it, and need not.
#[derive(Serialize, Deserialize)]
struct Stored {
    device: DeviceId,
    secret: [u8; 32],
    generation: Generation,
    registration: Option<Registration>,
    seed: [u8; 32],
    link: LinkChoice,
    heartbeat_s: u16,
}

/// Why there is nothing to go by, or it cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError<E> {
    /// Config: not two whole sectors, or units that a record does not fit.
    #[error("the provisioning area must be two erase sectors")]
    Layout,
    /// Config: a prefix beyond 32 bits, or a port of 0.
    #[error("a prefix is 0 to 32 bits long, and a port is not 0")]
    Link,
    /// Config: nothing whole is there.
    #[error("the device is not provisioned")]
    Blank,
    /// Resource: the flash failed.
    #[error("flash: {0:?}")]
    Flash(E),
}

/// Reads the newer of the two records.
pub fn read<F: NorFlash>(
    flash: &mut F,
    area: &Range<u32>,
) -> Result<Provision, ProvisionError<F::Error>> {
    let mut newest = Err(ProvisionError::Blank);
    let mut number_seen = None;
    for at in sectors::<F>(area)? {
        let Some((number, provision)) = read_record(flash, at)? else { continue };
        if number_seen.is_none_or(|seen| number > seen) {
            (newest, number_seen) = (Ok(provision), Some(number));
        }
    }
    newest
}

/// Writes a record in the place of the older one.
pub fn write<F: NorFlash>(
    flash: &mut F,
    area: &Range<u32>,
    provision: &Provision,
) -> Result<(), ProvisionError<F::Error>> {
    if !provision.link.is_valid() {
        return Err(ProvisionError::Link);
    }
    let [first, second] = sectors::<F>(area)?;
    let number_at = |flash: &mut F, at| Ok(read_record(flash, at)?.map(|(number, _)| number));
    let (one, other) = (number_at(flash, first)?, number_at(flash, second)?);
    let at = if one > other { second } else { first };
    let number = one.max(other).unwrap_or(0).saturating_add(1);
    let record = encode(number, provision).ok_or(ProvisionError::Layout)?;
    let end = at.saturating_add(sector_len::<F>());
    flash.erase(at, end).map_err(ProvisionError::Flash)?;
    flash.write(at, &record).map_err(ProvisionError::Flash)
}

impl LinkChoice {
    fn is_valid(&self) -> bool {
        match self {
            Self::Serial => true,
            Self::Ethernet { addressing, port, .. } => {
                let prefix_fits =
                    !matches!(addressing, Addressing::Static { prefix, .. } if *prefix > 32);
                prefix_fits && *port != 0
            }
        }
    }
}

fn sector_len<F: NorFlash>() -> u32 {
    u32::try_from(F::ERASE_SIZE).unwrap_or(u32::MAX)
}

/// Where the two sectors begin.
fn sectors<F: NorFlash>(area: &Range<u32>) -> Result<[u32; 2], ProvisionError<F::Error>> {
    let len = sector_len::<F>();
    let is_whole = area.start.checked_rem(len) == Some(0)
        && area.end.checked_sub(area.start) == len.checked_mul(SECTORS)
        && RECORD_LEN.checked_rem(F::WRITE_SIZE) == Some(0)
        && RECORD_LEN.checked_rem(F::READ_SIZE) == Some(0)
        && RECORD_LEN <= F::ERASE_SIZE;
    if is_whole {
        Ok([area.start, area.start.saturating_add(len)])
    } else {
        Err(ProvisionError::Layout)
    }
}

fn read_record<F: NorFlash>(
    flash: &mut F,
    at: u32,
) -> Result<Option<(u32, Provision)>, ProvisionError<F::Error>> {
    let mut bytes = [0; RECORD_LEN];
    flash.read(at, &mut bytes).map_err(ProvisionError::Flash)?;
    Ok(decode(&bytes))
}

fn encode(number: u32, provision: &Provision) -> Option<[u8; RECORD_LEN]> {
    let Provision { device, generation, registration, seed, link, .. } = *provision;
    let (secret, heartbeat_s) = (*provision.secret.expose(), provision.heartbeat_s);
    let stored = Stored { device, secret, generation, registration, seed, link, heartbeat_s };
    let mut bytes = [0xff; RECORD_LEN];
    let (header, content) = bytes.split_first_chunk_mut::<HEADER_LEN>()?;
    let len = postcard::to_slice(&(stored, provision.simulated_ms), content).ok()?.len();
    let len_bytes = u16::try_from(len).ok()?.to_le_bytes();
    let checksum = checksum(number, len_bytes, content.get(..len)?);
    let parts = [&MAGIC[..], &number.to_le_bytes(), &len_bytes, &[0; 2], &checksum];
    for (slot, byte) in header.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
    Some(bytes)
}

fn decode(bytes: &[u8; RECORD_LEN]) -> Option<(u32, Provision)> {
    let (header, content) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let (len_bytes, _) = rest.split_first_chunk::<2>()?;
    let content = content.get(..usize::from(u16::from_le_bytes(*len_bytes)))?;
    let number = u32::from_le_bytes(*number);
    let is_whole = *magic == MAGIC
        && header.get(CHECKSUM_AT..) == Some(&checksum(number, *len_bytes, content)[..]);
    if !is_whole {
        return None;
    }
    let (stored, added): (Stored, _) = postcard::take_from_bytes(content).ok()?;
    let simulated_ms = if added.is_empty() { 0 } else { postcard::from_bytes(added).ok()? };
    let Stored { device, generation, registration, seed, link, heartbeat_s, .. } = stored;
    let secret = Secret::new(stored.secret);
    let provision = Provision {
        device,
        secret,
        generation,
        registration,
        seed,
        link,
        heartbeat_s,
        simulated_ms,
    };
    link.is_valid().then_some((number, provision))
}

fn checksum(number: u32, len: [u8; 2], content: &[u8]) -> [u8; 4] {
    let mut digest = CRC.digest();
    digest.update(&number.to_le_bytes());
    digest.update(&len);
    digest.update(content);
    digest.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ring::flash_model::{FlashModel, Left};

    type Flash = FlashModel<1, 4, 512>;
    const AREA: Range<u32> = 512..1536;

    fn provision(heartbeat_s: u16) -> Provision {
        let addressing = Addressing::Static {
            address: [10, 0, 2, 15],
            prefix: 24,
            gateway: Some([10, 0, 2, 2]),
        };
        Provision {
            device: "van-7".parse().unwrap(),
            secret: Secret::new([7; 32]),
            generation: Generation::FIRST,
            registration: Some(Registration(9)),
            seed: [3; 32],
            link: LinkChoice::Ethernet { addressing, agent: [10, 0, 2, 2], port: 1883 },
            heartbeat_s,
            simulated_ms: 20,
        }
    }

    fn heartbeat(flash: &mut Flash) -> Option<u16> {
        read(flash, &AREA).ok().map(|provision| provision.heartbeat_s)
    }

    #[test]
    fn what_was_written_last_is_read() {
        let mut flash = Flash::new(4, 1);
        assert_eq!(read(&mut flash, &AREA).unwrap_err(), ProvisionError::Blank);
        for heartbeat_s in 1..=5 {
            write(&mut flash, &AREA, &provision(heartbeat_s)).unwrap();
            let back = read(&mut flash, &AREA).unwrap();
            let wanted = provision(heartbeat_s);
            assert_eq!(std::format!("{back:?}"), std::format!("{wanted:?}"));
            assert_eq!(back.secret.expose(), wanted.secret.expose());
        }
        assert!(flash.erases.iter().copied().eq([0, 3, 2, 0]), "both sectors wear, and no other");
    }

    #[test]
    fn a_cut_anywhere_leaves_what_was_there_or_what_is_new() {
        let ways =
            [Left::Untouched, Left::Complete, Left::Torn(1), Left::Garbage(2), Left::Scattered(3)];
        for before in [None, Some(1), Some(2)] {
            for (left, steps) in
                ways.iter().flat_map(|left| (0..70).map(move |steps| (*left, steps)))
            {
                let mut flash = Flash::new(4, 1);
                for heartbeat_s in 1..=before.unwrap_or(0) {
                    write(&mut flash, &AREA, &provision(heartbeat_s)).unwrap();
                }
                flash.cut_at(steps, left);
                let written = write(&mut flash, &AREA, &provision(9));
                flash.power_on();
                let found = heartbeat(&mut flash);
                match written {
                    Ok(()) => assert_eq!(found, Some(9)),
                    Err(_) => assert!(found == before || found == Some(9), "{left:?} {steps}"),
                }
                write(&mut flash, &AREA, &provision(10)).unwrap();
                assert_eq!(heartbeat(&mut flash), Some(10));
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_neither_written_nor_read() {
        let mut flash = Flash::new(4, 1);
        let with = |link| Provision { link, ..provision(1) };
        let addressing = Addressing::Static { address: [10; 4], prefix: 33, gateway: None };
        let refused = [
            LinkChoice::Ethernet { addressing, agent: [1; 4], port: 1 },
            LinkChoice::Ethernet { addressing: Addressing::Dhcp, agent: [1; 4], port: 0 },
        ];
        for link in refused {
            let error = write(&mut flash, &AREA, &with(link)).unwrap_err();
            assert_eq!(error, ProvisionError::Link);
            assert!(decode(&encode(1, &with(link)).unwrap()).is_none());
        }
        for area in [0..512, 0..1536, 4..1028] {
            assert_eq!(read(&mut flash, &area).unwrap_err(), ProvisionError::Layout, "{area:?}");
        }
        write(&mut flash, &AREA, &with(LinkChoice::Serial)).unwrap();
        assert_eq!(read(&mut flash, &AREA).unwrap().link, LinkChoice::Serial);
    }

    #[test]
    fn a_record_from_before_there_were_simulated_channels_is_read() {
        let Provision { device, generation, registration, seed, link, heartbeat_s, .. } =
            provision(7);
        let secret = [7; 32];
        let stored = Stored { device, secret, generation, registration, seed, link, heartbeat_s };
        let mut bytes = encode(3, &provision(7)).unwrap();
        let len = postcard::to_slice(&stored, &mut bytes[HEADER_LEN..]).unwrap().len();
        let len_bytes = u16::try_from(len).unwrap().to_le_bytes();
        let sum = checksum(3, len_bytes, &bytes[HEADER_LEN..][..len]);
        bytes[8..10].copy_from_slice(&len_bytes);
        bytes[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&sum);
        let (number, read) = decode(&bytes).unwrap();
        assert_eq!((number, read.heartbeat_s, read.simulated_ms), (3, 7, 0));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let record = encode(7, &provision(1)).unwrap();
        let used = record.iter().rposition(|byte| *byte != 0xff).unwrap();
        let reserved = (HEADER_LEN - 6) * 8..CHECKSUM_AT * 8;
        let noticed: Vec<bool> = (0..used * 8)
            .filter(|bit| !reserved.contains(bit))
            .map(|bit| {
                let mut hurt = record;
                hurt[bit / 8] ^= 1 << (bit % 8);
                decode(&hurt).is_none()
            })
            .collect();
        assert!(noticed.iter().all(|noticed| *noticed));
        assert_eq!(decode(&record).unwrap().0, 7);
    }
}
