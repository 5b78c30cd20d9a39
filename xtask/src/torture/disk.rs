//! A small disk for the agent, that can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Its size, for one round of the drives.
const DISK_MIB: u32 = 192;

/// A small file system of its own for the agent's directory, unmounted at the end.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, said aloud, where nothing may be mounted; under CI that is an error.
    pub fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let size = format!("size={DISK_MIB}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "milepost-torture"]).arg(at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Ok(Some(Self(at.to_owned())));
        }
        if std::env::var_os("CI").is_some() {
            bail!("CI must be able to mount a small tmpfs");
        }
        eprintln!("left out: full disks: no permission to mount a small tmpfs");
        Ok(None)
    }

    /// Takes away what a run left mounted that was interrupted.
    pub fn unmount_stale(at: &Path) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let is_it = |line: &str| line.split(' ').nth(1).is_some_and(|of| Path::new(of) == at);
        for _ in mounts.lines().filter(|line| is_it(line)) {
            let status = Command::new("umount").arg(at).status().context("starting umount")?;
            if !status.success() {
                bail!("{} is mounted by a run that was interrupted; is it in use?", at.display());
            }
        }
        Ok(())
    }

    /// Takes it away; what is on it stays where it was, if it is to be looked at.
    pub fn end(self, keeps: bool) -> Result<()> {
        let at = self.0.clone();
        let rescued = at.with_extension("rescued");
        if keeps {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(&at).arg(&rescued);
            if !copy.status().context("starting cp")?.success() {
                bail!("what was on the small disk could not be copied to {}", rescued.display());
            }
        }
        drop(self);
        if keeps {
            fs::remove_dir(&at)?;
            fs::rename(rescued, at)?;
        }
        Ok(())
    }

    /// Takes all the room there is, to the last block.
    pub fn fill(&self) -> Result<()> {
        let ballast = format!("of={}", self.0.join("ballast").display());
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4096", &ballast]).stderr(Stdio::null());
        // It ends when there is no room.
        dd.status().context("filling the disk")?;
        Ok(())
    }

    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.0.join("ballast")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}
