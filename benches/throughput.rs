//! The engine's throughput on the built-in model. Prints a line of JSON for each of several loads, like the example
//! `throughput` for one load.
//!
//! ```sh
//! cargo bench --bench throughput
//! ```
//!
//! The model is small: a step takes about a millisecond. So this benchmark shows the cost of the scheduler, attention
//! and the sampler, and needs no download. Run the example with a model or a shape to see the cost of the matrix
//! products.

#[path = "../examples/throughput/load.rs"]
mod load;

use std::io::Write;

use dart_math::engine::{ActivationType, EngineGroup, Instructions, KvType};
use dart_math::model::Model;
use dart_math::{Error, ErrorKind, Result};

use load::{Lengths, Load, measure};

fn main() -> Result<()> {
    let greedy = Load {
        prompts: 1,
        samples: 32,
        prompt_tokens: 100,
        new_tokens: 100,
        lengths: Lengths::Fixed,
        temperature: 0.0,
        top_p: 1.0,
        slots: 32,
        kv_bytes: None,
        kv_type: KvType::F32,
        activation_type: ActivationType::F32,
        instructions: Instructions::Widest,
        seed: 0,
    };
    let dart = Load {
        temperature: 1.6,
        top_p: 0.95,
        ..greedy
    };
    let loads = [
        Load {
            samples: 1,
            slots: 1,
            ..greedy
        },
        greedy,
        dart,
        Load {
            prompts: 40,
            samples: 4,
            lengths: Lengths::Spread,
            new_tokens: 40,
            ..dart
        },
        // About half of the memory that the KV cache would take.
        Load {
            kv_bytes: Some(8 << 20),
            ..dart
        },
    ];
    for load in loads {
        let engine = load.engine(Model::built_in()?)?.build()?;
        let group = EngineGroup::new(vec![engine])?;
        let report = serde_json::Value::Object(measure(&group, &load)?);
        if let Err(error) = writeln!(std::io::stdout(), "{report}") {
            // The reader has closed the pipe.
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return Ok(());
            }
            let error = Error::new(ErrorKind::Io, format!("standard output: {error}"));
            return Err(error);
        }
    }
    Ok(())
}
