//! Operations of the decoder that candle's autograd lacks or would compute in many passes over memory. Each
//! is a candle custom operation with its own backward pass, for CPU tensors of `f32`.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

/// The computation of an operation on contiguous slices.
trait Kernel: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// Returns the output's shape.
    fn shape(&self, input: &[usize]) -> Vec<usize>;

    /// Fills `output`, which is initially zero.
    fn forward(&self, input: &[f32], output: &mut [f32]);

    /// Fills `input_gradient`, which is initially zero, from the output's gradient.
    fn backward(&self, input: &[f32], output: &[f32], gradient: &[f32], input_gradient: &mut [f32]);
}

struct Forward<K>(K);

struct Backward<K>(K);

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("operand is not contiguous"),
    }
}

impl<K: Kernel> CustomOp1 for Forward<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = Shape::from(self.0.shape(layout.dims()));
        let mut output = vec![0.0; shape.elem_count()];
        self.0.forward(slice(storage, layout)?, &mut output);
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(&self, input: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        input
            .apply_op3_no_bwd(output, &gradient, &Backward(self.0.clone()))
            .map(Some)
    }
}

impl<K: Kernel> CustomOp3 for Backward<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        output: &CpuStorage,
        output_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut input_gradient = vec![0.0; input_layout.shape().elem_count()];
        self.0.backward(
            slice(input, input_layout)?,
            slice(output, output_layout)?,
            slice(gradient, gradient_layout)?,
            &mut input_gradient,
        );
        Ok((
            CpuStorage::F32(input_gradient),
            input_layout.shape().clone(),
        ))
    }
}

fn apply<K: Kernel>(input: &Tensor, kernel: K) -> Result<Tensor> {
    if input.dtype() != DType::F32 {
        bail!("{} of {:?}", K::NAME, input.dtype())
    }
    input.contiguous()?.apply_op1(Forward(kernel))
}

/// `x / sqrt(mean(x²) + epsilon)` over the last dimension. There is no gain, because the following matrix
/// replaces it.
pub(crate) fn normalize(x: &Tensor, epsilon: f32) -> Result<Tensor> {
    #[derive(Clone)]
    struct Normalize(usize, f32);

    impl Normalize {
        fn inverse(&self, row: &[f32]) -> f32 {
            let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
            1.0 / (mean + self.1).sqrt()
        }
    }

    impl Kernel for Normalize {
        const NAME: &'static str = "normalize";

        fn shape(&self, input: &[usize]) -> Vec<usize> {
            input.to_vec()
        }

        fn forward(&self, input: &[f32], output: &mut [f32]) {
            for (x, y) in input
                .chunks_exact(self.0)
                .zip(output.chunks_exact_mut(self.0))
            {
                let inverse = self.inverse(x);
                for (x, y) in x.iter().zip(y) {
                    *y = x * inverse;
                }
            }
        }

        // y = x r, r = (mean(x²) + ε)^(-1/2): dx = r (dy - y mean(dy y)).
        fn backward(&self, input: &[f32], output: &[f32], gradient: &[f32], dx: &mut [f32]) {
            let rows = input
                .chunks_exact(self.0)
                .zip(output.chunks_exact(self.0))
                .zip(gradient.chunks_exact(self.0))
                .zip(dx.chunks_exact_mut(self.0));
            for (((x, y), dy), dx) in rows {
                let inverse = self.inverse(x);
                let mean = y.iter().zip(dy).map(|(y, dy)| y * dy).sum::<f32>() / self.0 as f32;
                for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
                    *dx = inverse * (dy - y * mean);
                }
            }
        }
    }

    let width = x.dim(candle_core::D::Minus1)?;
    apply(x, Normalize(width, epsilon))
}

/// `silu(gate) · up` of rows `[gate, up]`: `[rows, 2 · width]` to `[rows, width]`.
pub(crate) fn gated(x: &Tensor) -> Result<Tensor> {
    #[derive(Clone)]
    struct Gated(usize);

    impl Kernel for Gated {
        const NAME: &'static str = "gated";

        fn shape(&self, input: &[usize]) -> Vec<usize> {
            vec![input[0], self.0]
        }

        fn forward(&self, input: &[f32], output: &mut [f32]) {
            for (x, y) in input
                .chunks_exact(2 * self.0)
                .zip(output.chunks_exact_mut(self.0))
            {
                let (gate, up) = x.split_at(self.0);
                for ((gate, up), y) in gate.iter().zip(up).zip(y) {
                    *y = gate / (1.0 + (-gate).exp()) * up;
                }
            }
        }

        fn backward(&self, input: &[f32], _: &[f32], gradient: &[f32], dx: &mut [f32]) {
            let rows = input
                .chunks_exact(2 * self.0)
                .zip(gradient.chunks_exact(self.0))
                .zip(dx.chunks_exact_mut(2 * self.0));
            for ((x, dy), dx) in rows {
                let (gate, up) = x.split_at(self.0);
                let (dgate, dup) = dx.split_at_mut(self.0);
                let columns = gate.iter().zip(up).zip(dy).zip(dgate.iter_mut().zip(dup));
                for (((gate, up), dy), (dgate, dup)) in columns {
                    let sigmoid = 1.0 / (1.0 + (-gate).exp());
                    *dup = dy * gate * sigmoid;
                    *dgate = dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
                }
            }
        }
    }

    apply(x, Gated(x.dim(1)? / 2))
}

/// The cosines and sines of the rotary angles, for every position and pair.
#[derive(Clone)]
pub(crate) struct Rotation {
    /// `[positions, head_dim / 2]`.
    table: std::sync::Arc<Vec<(f32, f32)>>,
}

impl Rotation {
    /// Angles `position · base^(-2i / head_dim)`.
    pub(crate) fn new(positions: usize, head_dim: usize, base: f64) -> Self {
        let mut table = Vec::with_capacity(positions * head_dim / 2);
        for position in 0..positions {
            for pair in 0..head_dim / 2 {
                let angle = position as f64 * base.powf(-2.0 * pair as f64 / head_dim as f64);
                table.push((angle.cos() as f32, angle.sin() as f32));
            }
        }
        Rotation {
            table: std::sync::Arc::new(table),
        }
    }
}

/// The layout of the result of [`heads`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// `[batch, heads, length, head_dim]`.
    Rows,
    /// `[batch, heads, head_dim, length]`.
    Columns,
}

/// Splits rows of tokens into heads, and rotates them if a rotation is given (pairs `i` and `i + head_dim /
/// 2`): `[batch · length, heads · head_dim]` to the requested layout.
pub(crate) fn heads(
    x: &Tensor,
    batch: usize,
    heads: usize,
    order: Order,
    rotation: Option<&Rotation>,
) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    apply(
        x,
        Heads {
            batch,
            heads,
            length: rows / batch,
            width: width / heads,
            order,
            rotation: rotation.cloned(),
        },
    )
}

#[derive(Clone)]
struct Heads {
    batch: usize,
    heads: usize,
    length: usize,
    width: usize,
    order: Order,
    rotation: Option<Rotation>,
}

impl Heads {
    /// Calls `visit` with (offset of a token's head in the rows, offset of its first element in the output
    /// layout, position).
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for sequence in 0..self.batch {
            for position in 0..self.length {
                let row = sequence * self.length + position;
                for head in 0..self.heads {
                    let start = (sequence * self.heads + head) * self.length * self.width;
                    let offset = match self.order {
                        Order::Rows => start + position * self.width,
                        Order::Columns => start + position,
                    };
                    visit((row * self.heads + head) * self.width, offset, position);
                }
            }
        }
    }

    fn step(&self) -> usize {
        match self.order {
            Order::Rows => 1,
            Order::Columns => self.length,
        }
    }

    /// Rotates the elements of one head by the position's angles times `direction`.
    fn rotate(&self, head: &mut [f32], position: usize, direction: f32) {
        if let Some(rotation) = &self.rotation {
            let half = self.width / 2;
            let angles = &rotation.table[position * half..][..half];
            let (first, second) = head.split_at_mut(half);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                let sin = sin * direction;
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }
}

impl Kernel for Heads {
    const NAME: &'static str = "heads";

    fn shape(&self, _: &[usize]) -> Vec<usize> {
        match self.order {
            Order::Rows => vec![self.batch, self.heads, self.length, self.width],
            Order::Columns => vec![self.batch, self.heads, self.width, self.length],
        }
    }

    fn forward(&self, input: &[f32], output: &mut [f32]) {
        let mut head = vec![0.0; self.width];
        self.each(|from, to, position| {
            head.copy_from_slice(&input[from..][..self.width]);
            self.rotate(&mut head, position, 1.0);
            for (y, x) in output[to..].iter_mut().step_by(self.step()).zip(&head) {
                *y = *x;
            }
        });
    }

    fn backward(&self, _: &[f32], _: &[f32], gradient: &[f32], dx: &mut [f32]) {
        self.each(|to, from, position| {
            let head = &mut dx[to..][..self.width];
            for (x, y) in head
                .iter_mut()
                .zip(gradient[from..].iter().step_by(self.step()))
            {
                *x = *y;
            }
            self.rotate(head, position, -1.0);
        });
    }
}

/// The inverse of [`heads`] in the order [`Order::Rows`] without rotation:
/// `[batch, heads, length, head_dim]` to `[batch · length, heads · head_dim]`.
pub(crate) fn tokens(x: &Tensor) -> Result<Tensor> {
    #[derive(Clone)]
    struct Tokens(Heads);

    impl Kernel for Tokens {
        const NAME: &'static str = "tokens";

        fn shape(&self, _: &[usize]) -> Vec<usize> {
            let heads = &self.0;
            vec![heads.batch * heads.length, heads.heads * heads.width]
        }

        fn forward(&self, input: &[f32], output: &mut [f32]) {
            self.0.backward(&[], &[], input, output);
        }

        fn backward(&self, _: &[f32], _: &[f32], gradient: &[f32], dx: &mut [f32]) {
            self.0.forward(gradient, dx);
        }
    }

    let (batch, heads, length, width) = x.dims4()?;
    apply(
        x,
        Tokens(Heads {
            batch,
            heads,
            length,
            width,
            order: Order::Rows,
            rotation: None,
        }),
    )
}

/// Softmax over the last dimension of `scale · x`, `[.., length, length]`, with a causal mask: a row uses
/// only the columns up to its own.
pub(crate) fn causal_softmax(x: &Tensor, scale: f32) -> Result<Tensor> {
    #[derive(Clone)]
    struct CausalSoftmax {
        length: usize,
        scale: f32,
    }

    impl Kernel for CausalSoftmax {
        const NAME: &'static str = "causal softmax";

        fn shape(&self, input: &[usize]) -> Vec<usize> {
            input.to_vec()
        }

        fn forward(&self, input: &[f32], output: &mut [f32]) {
            let rows = input
                .chunks_exact(self.length)
                .zip(output.chunks_exact_mut(self.length));
            for (row, (x, y)) in rows.enumerate() {
                let seen = row % self.length + 1;
                let (x, y) = (&x[..seen], &mut y[..seen]);
                let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0;
                for (x, y) in x.iter().zip(y.iter_mut()) {
                    *y = ((x - top) * self.scale).exp();
                    sum += *y;
                }
                let inverse = 1.0 / sum;
                for y in y {
                    *y *= inverse;
                }
            }
        }

        // dx = scale · y (dy - Σ dy y).
        fn backward(&self, _: &[f32], output: &[f32], gradient: &[f32], dx: &mut [f32]) {
            let rows = output
                .chunks_exact(self.length)
                .zip(gradient.chunks_exact(self.length))
                .zip(dx.chunks_exact_mut(self.length));
            for (row, ((y, dy), dx)) in rows.enumerate() {
                let seen = row % self.length + 1;
                let (y, dy) = (&y[..seen], &dy[..seen]);
                let sum: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
                for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
                    *dx = self.scale * y * (dy - sum);
                }
            }
        }
    }

    let length = x.dim(candle_core::D::Minus1)?;
    apply(x, CausalSoftmax { length, scale })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// Compares the gradient of `Σ w · op(x)` with central differences.
    fn check(shape: &[usize], op: impl Fn(&Tensor) -> Result<Tensor>) {
        let device = Device::Cpu;
        let count: usize = shape.iter().product();
        let values = |key| -> Vec<f32> {
            let random = dart_math::Philox::new(key);
            (0..)
                .map(|n| random.uniform(n) as f32 * 2.0 - 1.0)
                .take(count)
                .collect()
        };
        let x = values(1);
        let input = Var::from_vec(x.clone(), shape, &device).unwrap();
        let output = op(&input).unwrap();
        let weight = values(2);
        let weight = Tensor::from_vec(
            weight
                .iter()
                .cycle()
                .copied()
                .take(output.elem_count())
                .collect(),
            output.shape(),
            &device,
        )
        .unwrap();
        let sum = |y: &Tensor| (y * &weight).unwrap().sum_all().unwrap();
        let gradients = sum(&output).backward().unwrap();
        let gradient = gradients.get(&input).unwrap().flatten_all().unwrap();
        let gradient = gradient.to_vec1::<f32>().unwrap();
        for at in 0..count {
            let value = |shift: f32| {
                let mut x = x.clone();
                x[at] += shift;
                let y = op(&Tensor::from_vec(x, shape, &device).unwrap()).unwrap();
                sum(&y).to_scalar::<f32>().unwrap()
            };
            let numeric = (value(1e-2) - value(-1e-2)) / 2e-2;
            assert!(
                (numeric - gradient[at]).abs() < 2e-3,
                "element {at}: {} by backward, {numeric} by differences",
                gradient[at]
            );
        }
    }

    #[test]
    fn gradients_are_those_of_the_functions() {
        check(&[3, 8], |x| normalize(x, 1e-5));
        check(&[3, 8], gated);
        check(&[2, 2, 4, 4], |x| causal_softmax(x, 0.7));
        check(&[2, 2, 3, 4], tokens);
        let rotation = Rotation::new(3, 4, 100.0);
        check(&[6, 8], |x| heads(x, 2, 2, Order::Rows, Some(&rotation)));
        check(&[6, 8], |x| heads(x, 2, 2, Order::Columns, Some(&rotation)));
    }
}
