//! Compiles the protobuf files into `OUT_DIR`, in Rust alone, so that a build needs no protoc. Tells the library from which
//! commit it is built.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

#[path = "build/commit.rs"]
mod commit;

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
    println!("cargo:rerun-if-changed=build");
    name_commit()?;
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection serves the descriptors from which the code is generated.
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::wire::ProtobufCodec").compile_fds(descriptors)?;
    Ok(())
}

/// Sets `BUILT_FROM` for the library: the value of `BUILD_COMMIT`, or else the commit of the checkout. A build for tests says
/// `debug` instead, so that a commit does not make it compile everything again.
fn name_commit() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=BUILD_COMMIT");
    let given = env::var("BUILD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let built_from = match given {
        Some(commit) => commit,
        None if env::var("PROFILE")? != "release" => "debug".to_owned(),
        None => {
            let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
            if let Some(log) = commit::log(&root) {
                // It changes with each commit and each checkout.
                println!("cargo:rerun-if-changed={}", log.display());
            }
            commit::of(&root)
        }
    };
    println!("cargo:rustc-env=BUILT_FROM={built_from}");
    Ok(())
}
