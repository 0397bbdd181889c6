//! What a device is and what was measured of it.

use crate::{
    codec::{Decode, Encode},
    units::Bytes,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What executes the kernels. Shown with every result, never hidden.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// An NVIDIA GPU through its driver.
    Cuda,
    /// This machine's processor, by the PTX interpreter.
    CpuInterpreter,
    /// This machine's processor, by machine code translated from the PTX.
    CpuJit,
}

impl Engine {
    /// `CUDA: NVIDIA H100`, `CPU: ptx jit`, `CPU: ptx interpreter`.
    pub fn label(self, device: &str) -> String {
        match self {
            Engine::Cuda => format!("CUDA: {device}"),
            Engine::CpuInterpreter => "CPU: ptx interpreter".to_owned(),
            Engine::CpuJit => "CPU: ptx jit".to_owned(),
        }
    }

    /// Whether this is real GPU hardware.
    pub fn is_gpu(self) -> bool {
        match self {
            Engine::Cuda => true,
            Engine::CpuInterpreter | Engine::CpuJit => false,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Cuda => "cuda",
            Engine::CpuInterpreter => "cpu-interpreter",
            Engine::CpuJit => "cpu-jit",
        })
    }
}

/// Why a provider's device takes no jobs for now. Told to those who order, so it says nothing of what the owner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "why")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Withheld {
    #[error("its owner paused it")]
    Paused,
    #[error("its owner lends it at other hours")]
    Hours,
    #[error("its owner is using it")]
    InUse,
    #[error("it has {celsius} degrees, {limit} are allowed")]
    Hot {
        celsius: u16,
        #[serde(rename = "celsius_max")]
        limit: u16,
    },
    #[error("it draws {watts} W, {limit} are allowed")]
    Power {
        watts: u32,
        #[serde(rename = "watts_max")]
        limit: u32,
    },
}

/// CUDA compute capability, e.g. 9.0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct ComputeCapability {
    /// Before the point.
    pub major: u8,
    /// After the point.
    pub minor: u8,
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the device did in our own kernels when it was measured; zero where it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct MeasuredPower {
    /// f32 fused multiply-adds counted as two operations, in 10^6 operations a second.
    pub f32_mflops: u64,
    /// The same of f16, in pairs; tensor cores have no part in it.
    pub f16_mflops: u64,
    /// Device memory read plus written, in 10^6 bytes a second.
    #[serde(rename = "memory_mb_per_second")]
    pub memory_mbps: u64,
    /// Words multiplied and added modulo 2^32 in the product of a [`crate::challenge`], in 10^6 operations a second: the
    /// rate that any peer can hold the device to.
    pub product_mops: u64,
    /// From the machine's memory to the device's, as a program's inputs go, in 10^6 bytes a second; zero for a processor, where
    /// nothing moves.
    #[serde(rename = "to_device_mb_per_second")]
    pub to_device_mbps: u64,
    /// And back, as its outputs come.
    #[serde(rename = "from_device_mb_per_second")]
    pub from_device_mbps: u64,
}

/// Arithmetic that is believed for each operation of the product, the one rate that a challenge holds a device to.
/// Processors do about as many, cards a few times as many.
const F32_PER_PRODUCT_MAX: u64 = 16;

impl MeasuredPower {
    /// The claimed arithmetic, as far as the claimed product bears it out: a lie about the one has to be one about the
    /// other, which any peer can find out.
    pub fn f32_believed(&self) -> u64 {
        self.f32_mflops.min(self.product_mops.saturating_mul(F32_PER_PRODUCT_MAX))
    }
}

/// One device a provider offers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Device {
    /// Position on its node, from 0.
    pub index: u16,
    /// The driver's or the processor's model name.
    pub model: String,
    /// What runs kernels on it.
    pub engine: Engine,
    /// Compute capability; for the CPU engine, the highest whose instructions it has.
    pub capability: ComputeCapability,
    /// Memory a job may use.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// Whether its node found an NVRTC whose PTX this device takes: only then it runs modules in CUDA C.
    pub nvrtc: bool,
    /// Measured, not claimed by a data sheet.
    pub power: MeasuredPower,
}

impl Device {
    /// The engine and device in one line.
    pub fn label(&self) -> String {
        self.engine.label(&self.model)
    }
}
