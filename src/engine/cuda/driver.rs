//! A CUDA device as the backend uses it: one context, one stream, cuBLAS with its own workspace,
//! and memory by address.
//!
//! The driver and cuBLAS are opened by name at run time. Building the crate, or running it without
//! CUDA, needs no part of CUDA. Independent of models.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublas::{CudaBlas, result as blas, sys as blas_sys};
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, CudaModule, CudaStream, result, sys};

use crate::{Error, ErrorKind, Result};

/// The size of cuBLAS's workspace. Without its own workspace, cuBLAS would allocate during graph
/// capture. NVIDIA recommends 32 MiB for Hopper.
const CUBLAS_WORKSPACE: usize = 32 << 20;

/// The oldest driver that supports the PTX version of the kernels: CUDA 12.4.
const MIN_DRIVER: i32 = 12_040;

/// Checks that the driver and cuBLAS can be opened.
///
/// # Errors
///
/// [`ErrorKind::Device`], naming what is missing.
fn check_libraries() -> Result<()> {
    // SAFETY: both only try to open a library by its names; NVIDIA's have no harmful initializers.
    let (driver, blas) = unsafe { (sys::is_culib_present(), blas_sys::is_culib_present()) };
    let missing = match (driver, blas) {
        (true, true) => return Ok(()),
        (false, _) => "no NVIDIA driver (libcuda.so.1) was found",
        (true, false) => {
            "cuBLAS (libcublas.so.12 or .13, of the CUDA toolkit or of the package nvidia-cublas) \
             was not found; put its directory into LD_LIBRARY_PATH"
        }
    };
    Err(Error::new(ErrorKind::Device, missing))
}

/// Checks that the device exists, and that it and its driver are new enough.
///
/// # Errors
///
/// [`ErrorKind::Device`], with the cause.
pub(crate) fn check_device(ordinal: usize) -> Result<()> {
    let named = |error: Error| error.context(format_args!("cuda:{ordinal}"));
    match count_devices().map_err(named)? {
        count if ordinal < count => check_age(ordinal).map_err(named),
        count => Err(named(Error::new(
            ErrorKind::Device,
            format!("the number of devices is {count}"),
        ))),
    }
}

/// Returns the number of devices.
///
/// # Errors
///
/// [`ErrorKind::Device`] if the driver or cuBLAS is missing.
pub(crate) fn count_devices() -> Result<usize> {
    check_libraries()?;
    let count = CudaContext::device_count().doing("the driver could not be started")?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Checks that an existing device and its driver are new enough.
fn check_age(ordinal: usize) -> Result<()> {
    use sys::CUdevice_attribute as Attribute;
    let attribute = |attribute| {
        let device = result::device::get(ordinal as i32)?;
        // SAFETY: the driver has just returned the device.
        unsafe { result::device::get_attribute(device, attribute) }
    };
    let capability =
        |attribute_of| attribute(attribute_of).doing("the compute capability could not be read");
    check_capability(
        capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    )?;
    match driver_version() {
        Some(version) if version < MIN_DRIVER => {
            Err(Error::new(ErrorKind::Device, old_driver(Some(version))))
        }
        _ => Ok(()),
    }
}

fn check_capability(major: i32, minor: i32) -> Result<()> {
    if major >= 8 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Device,
        format!(
            "its compute capability is {major}.{minor}; at least 8.0 is needed (A100, RTX 30 and \
             newer)"
        ),
    ))
}

/// The CUDA version that the driver supports, in the driver's encoding.
fn driver_version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: the call writes one integer.
    let known = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    known.result().ok().map(|()| version)
}

fn old_driver(version: Option<i32>) -> String {
    let found = match version {
        Some(version) => format!("CUDA {}.{}", version / 1000, version % 1000 / 10),
        None => "an unknown version of CUDA".to_owned(),
    };
    format!(
        "its kernels could not be loaded: they need a driver for CUDA 12.4 (version 550) or newer, \
         and this one is for {found}"
    )
}

/// Converts a driver error.
pub(super) fn driver_error(what: &str, source: result::DriverError) -> Error {
    let name = source
        .error_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|_| format!("{:?}", source.0));
    Error::new(ErrorKind::Device, format!("{what}: {name}")).with_source(source)
}

/// Adds the failed operation to a driver error.
pub(super) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, result::DriverError> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| driver_error(what, error))
    }
}

impl<T> Doing<T> for std::result::Result<T, blas::CublasError> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| {
            Error::new(ErrorKind::Device, format!("{what}: {:?}", error.0)).with_source(error)
        })
    }
}

/// The number type of weights, activations and the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// bf16, multiplied by tensor cores and accumulated in f32.
    Bf16,
    /// f32: slow, for comparison with the CPU engine.
    F32,
}

impl Precision {
    /// Bytes per number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Precision::Bf16 => 2,
            Precision::F32 => 4,
        }
    }

    /// The suffix of the kernels' names.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Precision::Bf16 => "bf16",
            Precision::F32 => "f32",
        }
    }

    fn cuda_type(self) -> blas_sys::cudaDataType {
        match self {
            Precision::Bf16 => blas_sys::cudaDataType_t::CUDA_R_16BF,
            Precision::F32 => blas_sys::cudaDataType_t::CUDA_R_32F,
        }
    }
}

/// An open device.
pub(super) struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    blas: CudaBlas,
    /// Keeps cuBLAS's workspace alive.
    _workspace: Buffer,
    pub(super) multiprocessors: usize,
}

impl Device {
    /// Opens a device by its ordinal.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if the libraries or the device are missing, or if the device is older
    /// than compute capability 8.0.
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        let named = |error: Error| error.context(format_args!("cuda:{ordinal}"));
        check_libraries().map_err(named)?;
        Self::open_present(ordinal).map_err(named)
    }

    fn open_present(ordinal: usize) -> Result<Self> {
        let context = CudaContext::new(ordinal).doing("the device could not be opened")?;
        // One stream orders all work, so that cudarc's events are not needed.
        // SAFETY: nothing here uses cudarc's slices, whose accesses those events would order.
        unsafe { context.disable_event_tracking() };
        let (major, minor) = context
            .compute_capability()
            .doing("the compute capability could not be read")?;
        check_capability(major, minor)?;
        let stream = context.new_stream().doing("no stream")?;
        let blas = CudaBlas::new(stream.clone()).doing("cuBLAS could not be set up")?;
        let workspace = Buffer::new(&stream, CUBLAS_WORKSPACE, "cuBLAS's workspace")?;
        // SAFETY: the handle is live, and the workspace outlives it.
        unsafe {
            blas_sys::cublasSetWorkspace_v2(
                *blas.handle(),
                workspace.address as *mut c_void,
                CUBLAS_WORKSPACE,
            )
        }
        .result()
        .doing("cuBLAS took no workspace")?;
        let multiprocessors = context
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .doing("the number of multiprocessors could not be read")?;
        Ok(Device {
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(1).max(1),
            context,
            stream,
            blas,
            _workspace: workspace,
        })
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    pub(super) fn name(&self) -> String {
        self.context
            .name()
            .unwrap_or_else(|_| "CUDA device".to_owned())
    }

    /// Makes this device's context current on this thread.
    pub(super) fn bind(&self) -> Result<()> {
        self.context
            .bind_to_thread()
            .doing("the device could not be used by this thread")
    }

    /// Bytes of free device memory.
    pub(super) fn free_bytes(&self) -> Result<usize> {
        let (free, _) = self
            .context
            .mem_get_info()
            .doing("free memory could not be read")?;
        Ok(free)
    }

    /// Waits for all queued work.
    pub(super) fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().doing("the device's work failed")
    }

    /// Loads kernels from PTX.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Device`], naming the driver's version if it is too old.
    pub(super) fn load(&self, ptx: &str) -> Result<Arc<CudaModule>> {
        self.context
            .load_module(ptx.into())
            .map_err(|error| driver_error(&old_driver(driver_version()), error))
    }

    /// Allows a kernel `bytes` bytes of dynamic shared memory.
    pub(super) fn allow_shared(function: &CudaFunction, bytes: usize) -> Result<()> {
        let attribute =
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function
            .set_attribute(attribute, bytes as i32)
            .doing("a kernel needs more shared memory than the device has")
    }

    /// `output[row][o] = Σ weight[o][i] · input[row][i]`, all row-major: weight
    /// `[outputs, inputs]`, input `[rows, inputs]`, output `[rows, outputs]`. The output is f32 if
    /// `wide`, otherwise of the weights' type. Sums are in f32.
    pub(super) fn gemm(&self, precision: Precision, product: &Product, wide: bool) -> Result<()> {
        let Product {
            weight,
            input,
            output,
            rows,
            inputs,
            outputs,
        } = *product;
        let (one, zero) = (1f32, 0f32);
        let output_type = match wide {
            true => blas_sys::cudaDataType_t::CUDA_R_32F,
            false => precision.cuda_type(),
        };
        // cuBLAS is column-major: it computes the output's transpose, weight · inputᵀ. The
        // row-major weight is already its transpose there.
        // SAFETY: the addresses are those of buffers of these shapes; the stream orders their use.
        unsafe {
            blas::gemm_ex(
                *self.blas.handle(),
                blas_sys::cublasOperation_t::CUBLAS_OP_T,
                blas_sys::cublasOperation_t::CUBLAS_OP_N,
                outputs as i32,
                rows as i32,
                inputs as i32,
                (&raw const one).cast(),
                weight as *const c_void,
                precision.cuda_type(),
                inputs as i32,
                input as *const c_void,
                precision.cuda_type(),
                inputs as i32,
                (&raw const zero).cast(),
                output as *mut c_void,
                output_type,
                outputs as i32,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .doing("a matrix product failed")
    }

    /// Records an event after all queued work.
    pub(super) fn record(&self) -> Result<CudaEvent> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let event = self.context.new_event(Some(flags)).doing("no event")?;
        event
            .record(&self.stream)
            .doing("an event could not be recorded")?;
        Ok(event)
    }

    /// Allocates page-locked memory, for copies that overlap with other work.
    pub(super) fn pinned(&self, bytes: usize) -> Result<Pinned> {
        self.bind()?;
        // SAFETY: the memory is written before it is read: by `Pinned::as_mut` or by a copy.
        let address = unsafe { result::malloc_host(bytes.max(1), 0) }
            .doing("page-locked memory could not be allocated")?;
        Ok(Pinned {
            context: self.context.clone(),
            address: address.cast(),
            bytes,
        })
    }

    /// Queues a copy of `bytes` bytes, from offset `first` on, to the device. The memory must not
    /// change until the stream has executed the copy.
    pub(super) fn upload(&self, to: u64, from: &Pinned, bytes: usize, first: usize) -> Result<()> {
        debug_assert!(first + bytes <= from.bytes);
        // SAFETY: both have at least `bytes` bytes; the caller keeps `from` until it was read.
        let copied = unsafe {
            let source = std::slice::from_raw_parts(from.address.add(first), bytes);
            result::memcpy_htod_async(to, source, self.stream.cu_stream())
        };
        copied.doing("a copy to the device failed")
    }

    /// Queues a copy from the device to offset `first`. The result may be read after an event
    /// behind the copy.
    pub(super) fn download(
        &self,
        to: &mut Pinned,
        first: usize,
        from: u64,
        bytes: usize,
    ) -> Result<()> {
        debug_assert!(first + bytes <= to.bytes);
        // SAFETY: both have at least `bytes` bytes; the result is read after an event behind the
        // copy.
        let copied = unsafe {
            let target = std::slice::from_raw_parts_mut(to.address.add(first), bytes);
            result::memcpy_dtoh_async(target, from, self.stream.cu_stream())
        };
        copied.doing("a copy from the device failed")
    }

    /// Queues a copy within the device.
    pub(super) fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: both addresses are those of buffers of at least `bytes` bytes.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .doing("a copy on the device failed")
    }

    /// Queues zeroing of memory.
    pub(super) fn clear(&self, at: u64, bytes: usize) -> Result<()> {
        // SAFETY: the address is that of a buffer of at least `bytes` bytes.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream.cu_stream()) }
            .doing("memory on the device could not be cleared")
    }

    /// Copies numbers to a new buffer, and waits.
    pub(super) fn buffer_of<T: Copy>(&self, numbers: &[T], what: &str) -> Result<Buffer> {
        let buffer = Buffer::new(&self.stream, size_of_val(numbers), what)?;
        self.fill(buffer.address, numbers)?;
        Ok(buffer)
    }

    /// Copies numbers to an address, and waits.
    pub(super) fn fill<T: Copy>(&self, to: u64, numbers: &[T]) -> Result<()> {
        // SAFETY: the buffer is large enough; the stream is synchronized before `numbers` may be
        // dropped.
        unsafe { result::memcpy_htod_async(to, numbers, self.stream.cu_stream()) }
            .doing("a copy to the device failed")?;
        self.synchronize()
    }

    /// Copies numbers from an address, and waits.
    pub(super) fn read<T: Copy>(&self, from: u64, numbers: &mut [T]) -> Result<()> {
        // SAFETY: the address is that of a large enough buffer; the stream is synchronized.
        unsafe { result::memcpy_dtoh_async(numbers, from, self.stream.cu_stream()) }
            .doing("a copy from the device failed")?;
        self.synchronize()
    }
}

/// A GEMM: addresses and sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub(super) weight: u64,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Device memory, freed on drop.
pub(super) struct Buffer {
    stream: Arc<CudaStream>,
    pub(super) address: u64,
    pub(super) bytes: usize,
}

impl Buffer {
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if the memory is not available; names its purpose.
    pub(super) fn new(stream: &Arc<CudaStream>, bytes: usize, what: &str) -> Result<Self> {
        let context = stream.context();
        context
            .bind_to_thread()
            .doing("the device could not be used by this thread")?;
        // SAFETY: the memory is written before it is read.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| {
            let free = context.mem_get_info().map_or(0, |(free, _)| free);
            let reason = format!("{what} needs {bytes} bytes of device memory; {free} are free");
            driver_error(&reason, error)
        })?;
        Ok(Buffer {
            stream: stream.clone(),
            address,
            bytes,
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let context = self.stream.context();
        context.record_err(self.stream.synchronize());
        // SAFETY: allocated by `new`, and no queued work uses it any more.
        context.record_err(unsafe { result::free_sync(self.address) });
    }
}

/// Page-locked host memory.
pub(super) struct Pinned {
    context: Arc<CudaContext>,
    address: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory with a single owner.
unsafe impl Send for Pinned {}

impl Pinned {
    /// The memory as a mutable slice of a plain type.
    pub(super) fn as_mut<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: page-aligned and owned; any bits are a valid value of a plain type.
        unsafe { std::slice::from_raw_parts_mut(self.address.cast(), self.bytes / size_of::<T>()) }
    }

    /// The memory as a slice of a plain type.
    pub(super) fn get<T: Plain>(&self) -> &[T] {
        // SAFETY: as for `as_mut`.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: allocated by `Device::pinned`; the code that queued copies has waited for them.
        self.context
            .record_err(unsafe { result::free_host(self.address.cast()) });
    }
}

/// Types for which every bit pattern is valid.
///
/// # Safety
///
/// The type must have no padding and no invalid values.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: an integer.
unsafe impl Plain for i32 {}
