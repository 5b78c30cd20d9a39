//! The TMP105 temperature sensor (Texas Instruments, SBOS316), as the worked example of a sensor behind
//! `embedded_hal`'s I2C: a reading is in sixteenths of a degree Celsius.

use embedded_hal::i2c::I2c;

/// Registers.
const TEMPERATURE: u8 = 0;
const CONFIGURATION: u8 = 1;
/// Twelve bits: a reading takes 220 ms and is always there.
const TWELVE_BITS: u8 = 0b11 << 5;
/// Bits below the reading's last one.
const BELOW: u32 = 4;

/// The sensor.
#[derive(Debug)]
pub struct Tmp105<I> {
    bus: I,
    address: u8,
}

impl<I: I2c> Tmp105<I> {
    /// Configures the sensor at this address of 7 bits.
    pub fn open(mut bus: I, address: u8) -> Result<Self, I::Error> {
        bus.write(address, &[CONFIGURATION, TWELVE_BITS])?;
        bus.write(address, &[TEMPERATURE])?;
        Ok(Self { bus, address })
    }

    /// The temperature, in sixteenths of a degree Celsius: from -55 to 127.9375 degrees.
    pub fn read(&mut self) -> Result<i16, I::Error> {
        let mut bytes = [0; 2];
        self.bus.read(self.address, &mut bytes)?;
        Ok(i16::from_be_bytes(bytes) >> BELOW)
    }
}
