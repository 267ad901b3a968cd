//! Compiles the protobuf files into `OUT_DIR`, in Rust alone, so that a build needs no protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 6] = [
    "campaign_metrics/v1/account.proto",
    "campaign_metrics/v1/campaign.proto",
    "campaign_metrics/v1/lead.proto",
    "campaign_metrics/v1/opt_out.proto",
    "campaign_metrics/v1/outcome.proto",
    "campaign_metrics/v1/performance.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection serves the descriptors from which the code is generated.
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::wire::ProtobufCodec").compile_fds(descriptors)?;
    Ok(())
}
