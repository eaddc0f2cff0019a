//! Several devices in one setting.
//!
//! Depends on devices, but not on models.

use std::fmt;
use std::str::FromStr;

use super::device::DeviceChoice;
use crate::{Error, ErrorKind, Result};

/// One device, or several CUDA devices (`cuda:0,cuda:1`; `cuda:all`), each with its own copy of the
/// model (see [`EngineGroup`](crate::engine::EngineGroup)).
///
/// ```
/// use dart_math::model::{DeviceChoice, DeviceList};
///
/// let two: DeviceList = "cuda:0,cuda:1".parse()?;
/// assert_eq!(two.to_string(), "cuda:0,cuda:1");
/// assert!("cuda:0,cpu".parse::<DeviceList>().is_err());
/// assert_eq!("cpu".parse::<DeviceList>()?.devices()?, [DeviceChoice::Cpu]);
/// # Ok::<(), dart_math::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList(Listed);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed {
    Named(Vec<DeviceChoice>),
    AllCuda,
}

impl DeviceList {
    /// Returns the devices, at least one. If there are several, each was checked to exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if one of several devices does not exist or cannot be used.
    pub fn devices(&self) -> Result<Vec<DeviceChoice>> {
        let devices = match &self.0 {
            Listed::Named(devices) => devices.clone(),
            Listed::AllCuda => all_cuda()?,
        };
        if devices.len() > 1 {
            // Check before the first model is loaded.
            for device in &devices {
                device.place()?;
            }
        }
        Ok(devices)
    }
}

#[cfg(feature = "cuda")]
fn all_cuda() -> Result<Vec<DeviceChoice>> {
    match crate::engine::cuda_device_count() {
        Ok(0) => Err(no_device("there is none")),
        Ok(count) => Ok((0..count).map(DeviceChoice::Cuda).collect()),
        Err(error) => Err(error.context("cuda:all")),
    }
}

#[cfg(not(feature = "cuda"))]
fn all_cuda() -> Result<Vec<DeviceChoice>> {
    Err(no_device(
        "this build does not know which there are; build with `--features cuda`, or name them",
    ))
}

fn no_device(reason: &str) -> Error {
    Error::new(ErrorKind::Device, format!("cuda:all: {reason}"))
}

impl From<DeviceChoice> for DeviceList {
    fn from(device: DeviceChoice) -> Self {
        DeviceList(Listed::Named(vec![device]))
    }
}

impl FromStr for DeviceList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "cuda:all" {
            return Ok(DeviceList(Listed::AllCuda));
        }
        let bad = |reason: String| Error::new(ErrorKind::Settings, format!("`{text}`: {reason}"));
        let mut devices = Vec::new();
        for name in text.split(',') {
            let device: DeviceChoice = name.parse()?;
            if devices.contains(&device) {
                return Err(bad(format!("{device} is named twice")));
            }
            devices.push(device);
        }
        let other = devices
            .iter()
            .find(|device| !matches!(device, DeviceChoice::Cuda(_)));
        match other {
            Some(other) if devices.len() > 1 => Err(bad(format!(
                "{other} does not compute beside other devices; several are CUDA devices"
            ))),
            _ => Ok(DeviceList(Listed::Named(devices))),
        }
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listed::Named(devices) = &self.0 else {
            return f.write_str("cuda:all");
        };
        for (index, device) in devices.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{device}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_of_different_cuda_devices() {
        for good in [
            "auto",
            "cpu",
            "metal",
            "cuda:3",
            "cuda:0,cuda:2",
            "cuda:all",
        ] {
            assert_eq!(good.parse::<DeviceList>().unwrap().to_string(), good);
        }
        for (bad, reason) in [
            ("", "device ``"),
            ("cuda:0,", "device ``"),
            ("cuda:0,cuda:x", "cuda:x"),
            ("cuda:0,cuda:all", "cuda:all"),
            ("cuda,cuda:0", "cuda:0 is named twice"),
            ("cuda:1,cpu", "cpu does not compute beside"),
            ("auto,cuda:1", "auto does not compute beside"),
        ] {
            let error = bad.parse::<DeviceList>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn one_device_is_not_looked_for() {
        let list = DeviceList::from(DeviceChoice::Cuda(99));
        assert_eq!(list.devices().unwrap(), [DeviceChoice::Cuda(99)]);
        let two: DeviceList = "cuda:98,cuda:99".parse().unwrap();
        assert_eq!(two.devices().unwrap_err().kind(), ErrorKind::Device);
    }
}
