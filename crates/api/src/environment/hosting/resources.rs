//! What one sandbox may use. What is null is the server's setting.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::count;
use crate::error::Invalid;
use crate::limits::{MOST_BYTES, MOST_CPU_MILLIS, MOST_PIDS};
use crate::patch::Patch;
use crate::read::{At, Fields, Read, expected, quoted};

/// What one sandbox may use; `None` is the server's setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Disk in bytes.
    pub disk: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Processor time, in thousandths of a processor. Written as a number of processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(pub u32);

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            (self.0 / 1000).serialize(serializer)
        } else {
            (f64::from(self.0) / 1000.0).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cpu, D::Error> {
        f64::deserialize(deserializer).map(|number| Cpu((number * 1000.0).round() as u32))
    }
}

impl Read for Cpu {
    fn read(value: Value, at: At<'_>) -> Result<Cpu, Invalid> {
        let number = value
            .as_f64()
            .filter(|number| (0.05..=f64::from(MOST_CPU_MILLIS) / 1000.0).contains(number));
        let rule = "a number of processors from 0.05 to 256";
        let number = number.ok_or_else(|| at.invalid(expected(rule, &value)))?;
        Ok(Cpu((number * 1000.0).round() as u32))
    }
}

/// Bytes, as an integer or with a binary unit.
struct Bytes(u64);

/// Less, and claude (memory) or its working files (disk) do not fit.
const LEAST: u64 = 64 << 20;

impl Read for Bytes {
    fn read(value: Value, at: At<'_>) -> Result<Bytes, Invalid> {
        let rule = "an integer of bytes or text such as \"512MiB\" or \"2GiB\"";
        let bytes = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => Some(
                with_unit(text)
                    .ok_or_else(|| at.invalid(format!("must be {rule}, got {}", quoted(text))))?,
            ),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| at.invalid(expected(rule, &value)))?;
        if !(LEAST..=MOST_BYTES).contains(&bytes) {
            return Err(at.invalid(format!(
                "must be at least 64MiB and at most 1024TiB, got {bytes} bytes"
            )));
        }
        Ok(Bytes(bytes))
    }
}

fn with_unit(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, *shift)))?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `resources` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourcesParams {
    cpu: Patch<Cpu>,
    memory: Patch<u64>,
    disk: Patch<u64>,
    pids: Patch<u32>,
}

impl Read for ResourcesParams {
    fn read(value: Value, at: At<'_>) -> Result<ResourcesParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = ResourcesParams {
            cpu: fields.patch("cpu")?,
            memory: bytes(&mut fields, "memory")?,
            disk: bytes(&mut fields, "disk")?,
            // Below sixteen claude does not start.
            pids: count(&mut fields, "pids", 16, MOST_PIDS)?,
        };
        fields.finish()?;
        Ok(params)
    }
}

/// Takes a number of bytes in its three states.
pub(crate) fn bytes(fields: &mut Fields<'_>, key: &'static str) -> Result<Patch<u64>, Invalid> {
    Ok(match fields.patch::<Bytes>(key)? {
        Patch::Absent => Patch::Absent,
        Patch::Null => Patch::Null,
        Patch::Value(Bytes(bytes)) => Patch::Value(bytes),
    })
}

impl ResourcesParams {
    pub(super) fn apply(self, stored: &mut Resources) {
        self.cpu.apply(&mut stored.cpu);
        self.memory.apply(&mut stored.memory);
        self.disk.apply(&mut stored.disk);
        self.pids.apply(&mut stored.pids);
    }
}
