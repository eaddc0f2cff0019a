//! Weights for candle's `VarBuilder`, from the crate's own safetensors reader.
//!
//! Each tensor is read once and kept, so that all networks of a model share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;

use crate::model::assemble::{Part, TensorSource};
use crate::model::safetensors::SafeTensors;
use crate::{Error, ErrorKind, Result};

/// Reads tensors on request. Copies share the tensors that were read.
#[derive(Clone)]
pub(super) struct Tensors(Arc<Mutex<State>>);

struct State {
    /// `None` once all tensors are read.
    files: Option<SafeTensors>,
    read: BTreeMap<String, Tensor>,
    /// The first error of reading a tensor, in the crate's own words.
    failure: Option<Error>,
}

impl Tensors {
    pub(super) fn new(files: SafeTensors) -> Self {
        Tensors(Arc::new(Mutex::new(State {
            files: Some(files),
            read: BTreeMap::new(),
            failure: None,
        })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the first error of reading a tensor, if any.
    pub(super) fn failure(&self) -> Option<Error> {
        self.with(|state| state.failure.take())
    }

    /// Closes the files and returns the tensors that were read.
    ///
    /// # Errors
    ///
    /// A tensor that the network did not request and would therefore ignore.
    pub(super) fn finish(&self) -> Result<Vec<(String, Tensor)>> {
        self.with(|state| {
            if let Some(files) = state.files.take() {
                let names = files.names();
                let unread = |name: &&&str| {
                    !state.read.contains_key(**name)
                        && !name.ends_with(".rotary_emb.inv_freq")
                        && **name != HEAD
                };
                let unread_head = files.shape(HEAD).is_some() && !state.read.contains_key(HEAD);
                if unread_head && !files.equal(HEAD, EMBEDDING)? {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "{} is not the embedding, which candle-transformers' model takes in its \
                             place",
                            files.tensor_label(HEAD)
                        ),
                    ));
                }
                if let Some(name) = names.iter().find(unread) {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!(
                            "{}: candle-transformers' model has no use for it",
                            files.tensor_label(name)
                        ),
                    ));
                }
            }
            let read = state.read.iter();
            Ok(read
                .map(|(name, tensor)| (name.clone(), tensor.clone()))
                .collect())
        })
    }

    fn read(&self, name: &str, shape: Option<&[usize]>, device: &Device) -> Result<Tensor> {
        self.with(|state| {
            if let Some(tensor) = state.read.get(name) {
                return Ok(tensor.clone());
            }
            let closed = || Error::new(ErrorKind::Model, format!("no tensor `{name}`"));
            let files = state.files.as_ref().ok_or_else(closed)?;
            let found = files.shape(name).ok_or_else(|| files.missing(name))?;
            if let Some(shape) = shape
                && shape != found
            {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!(
                        "{} has shape {found:?}; the configuration asks for {shape:?}",
                        files.tensor_label(name)
                    ),
                ));
            }
            let (rows, columns) = match *found {
                [rows] => (rows, None),
                [rows, columns] => (rows, Some(columns)),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("{} has shape {found:?}", files.tensor_label(name)),
                    ));
                }
            };
            let part = Part {
                name: name.to_owned(),
                rows,
                columns,
                interleaved_head: None,
            };
            let shape = found.to_vec();
            let tensor = files.dense_of::<f32>(&[part], &shape, device)?;
            state.read.insert(name.to_owned(), tensor.clone());
            Ok(tensor)
        })
    }

    fn get(
        &self,
        name: &str,
        shape: Option<&[usize]>,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.read(name, shape, device).map_err(|error| {
            let text = error.to_string();
            self.with(|state| state.failure.get_or_insert(error).kind());
            candle_core::Error::Msg(text)
        })
    }
}

/// The output head. Files of models with a tied head may store it nevertheless; it then equals the
/// embedding.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

impl SimpleBackend for Tensors {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        _: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.get(name, Some(shape.dims()), device)
    }

    fn get_unchecked(&self, name: &str, _: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.get(name, None, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.with(|state| {
            let filed = state
                .files
                .as_ref()
                .is_some_and(|files| files.shape(name).is_some());
            filed || state.read.contains_key(name)
        })
    }
}
