//! A program's kernels: looked up once, allowed the shared memory they ask for, queued with their arguments.
//!
//! Owns: its modules, and [`Prepared`], a launch as the driver takes it. Never: knows buffers but as addresses.
//! Tests: `gpu/tests/backends.rs`.

use super::driver::{self, Module, Stream, Trouble, fault};
use crate::{
    cpu::pieces::writes_anywhere,
    program::{LoadedProgram, param_block},
};
use cudarc::driver::{result, sys};
use ion_protocol::{fault::Fault, job::Launch};
use std::{
    collections::BTreeMap,
    ffi::{CString, c_void},
    rc::Rc,
};

/// Shared memory a block gets without asking for more.
const SHARED_BYTES_PLAIN: u64 = 48 * 1024;

pub(super) struct Kernels {
    found: BTreeMap<(u16, String), Kernel>,
    modules: Vec<Rc<Module>>,
}

#[derive(Clone, Copy)]
struct Kernel {
    function: sys::CUfunction,
    /// Dynamic shared memory it was allowed so far.
    shared: u64,
    shared_static: u64,
    /// Whether it stores through addresses that it finds in memory: of any buffer that an earlier launch was given.
    writes_anywhere: bool,
}

/// A launch as the driver takes it.
pub(super) struct Prepared {
    kernel: Kernel,
    extents: [[u32; 3]; 2],
    shared: u32,
    params: Vec<u8>,
    offsets: Vec<usize>,
}

impl Kernels {
    pub fn of(modules: Vec<Rc<Module>>) -> Self {
        Self { found: BTreeMap::new(), modules }
    }

    /// What is given to a launch's kernel, `address` being where a buffer is.
    pub fn prepare(
        &mut self,
        job: &LoadedProgram,
        launch: &Launch,
        address: impl Fn(u16) -> sys::CUdeviceptr,
    ) -> Result<Prepared, Fault> {
        let function = job.kernel(launch)?;
        Ok(Prepared {
            kernel: self.kernel(job, launch)?,
            extents: [launch.grid, launch.block],
            shared: launch.shared_bytes,
            params: param_block(function, launch, address),
            offsets: function.params.iter().map(|param| param.offset as usize).collect(),
        })
    }

    /// The handle of a kernel, allowed the shared memory the launch asks for.
    fn kernel(&mut self, job: &LoadedProgram, launch: &Launch) -> Result<Kernel, Fault> {
        let key = (launch.module, launch.kernel.clone());
        let mut kernel = match self.found.get(&key) {
            Some(kernel) => *kernel,
            None => self.look_up(job, launch)?,
        };
        let asked = u64::from(launch.shared_bytes);
        if kernel.shared_static + asked > SHARED_BYTES_PLAIN && asked > kernel.shared {
            kernel.allow(launch)?;
        }
        self.found.insert(key, kernel);
        Ok(kernel)
    }

    fn look_up(&self, job: &LoadedProgram, launch: &Launch) -> Result<Kernel, Fault> {
        let absent = || Fault::Program { message: format!("no kernel `{}`", launch.kernel) };
        let module = self.modules.get(usize::from(launch.module)).ok_or_else(absent)?;
        let name = CString::new(launch.kernel.as_str()).map_err(|_| absent())?;
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        let found = module.kernel(&name).and_then(|function| {
            // SAFETY: the function's module is loaded.
            let bytes =
                driver::call(|| unsafe { result::function::get_function_attribute(function, attribute) })?;
            let shared_static = u64::try_from(bytes).unwrap_or(0);
            // A single launch is waited for whatever it writes.
            let writes_anywhere = job.program().launches() > 1 && writes_anywhere(job, launch);
            Ok(Kernel { function, shared: 0, shared_static, writes_anywhere })
        });
        found.map_err(|trouble| fault(trouble, &format!("kernel `{}`", launch.kernel)))
    }
}

impl Kernel {
    /// Allows it as much dynamic shared memory as the launch asks for.
    fn allow(&mut self, launch: &Launch) -> Result<(), Fault> {
        let (function, asked) = (self.function, launch.shared_bytes);
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function's module is loaded.
        driver::call(|| unsafe {
            result::function::set_function_attribute(function, attribute, asked as i32)
        })
        .map_err(|trouble| match trouble {
            Trouble::Code(sys::CUresult::CUDA_ERROR_INVALID_VALUE) => Fault::NoDevice {
                message: format!("the device has less than {asked} bytes of shared memory for a block"),
            },
            other => fault(other, &format!("kernel `{}`", launch.kernel)),
        })?;
        self.shared = asked.into();
        Ok(())
    }
}

impl Prepared {
    /// Whether it may write buffers that it is not given.
    pub fn writes_anywhere(&self) -> bool {
        self.kernel.writes_anywhere
    }

    /// Queues it.
    pub fn launch(&self, stream: &Stream) -> Result<(), Trouble> {
        let [[gx, gy, gz], [bx, by, bz]] = self.extents;
        // The driver knows each parameter's size and reads that much from where its pointer points.
        let at = |at: &usize| self.params[*at..].as_ptr().cast_mut().cast::<c_void>();
        let mut params: Vec<*mut c_void> = self.offsets.iter().map(at).collect();
        // SAFETY: the function's module is loaded; `params` has one pointer a parameter into the block, which the driver
        // reads, and copies before it returns. What the kernel does is its process's risk alone.
        driver::call(|| unsafe {
            result::launch_kernel(
                self.kernel.function,
                (gx, gy, gz),
                (bx, by, bz),
                self.shared,
                stream.0,
                &mut params,
            )
        })
    }
}
