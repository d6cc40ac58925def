//! Compiles the library that is preloaded into the app's processes.
//!
//! It is linked with no library at all: its few symbols are in every glibc and musl, and without
//! version, so that one file works wherever a dynamic linker honours `LD_PRELOAD`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/preload");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("lane.so");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // The layout of the C library's structures is the same in glibc and musl where a word has 64 bits.
    let is_supported = variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_POINTER_WIDTH") == "64";
    if !is_supported {
        std::fs::write(out, "")?;
        return Ok(());
    }
    let mut build = cc::Build::new();
    build.opt_level(2).debug(false).warnings(false);
    let mut command = build.try_get_compiler()?.to_command();
    command
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-fPIC",
            "-shared",
            "-nostdlib",
        ])
        .args([
            "-fvisibility=hidden",
            "-fno-stack-protector",
            "-U_FORTIFY_SOURCE",
            "-g0",
        ])
        .args([
            "-Wl,-soname,monolite-driver-lane.so",
            "-Wl,-z,noexecstack",
            // What a program never calls is never looked up.
            "-Wl,-z,lazy",
            "-Wl,-s",
        ])
        // Atomics as instructions: their functions are in a library.
        .args((variable("CARGO_CFG_TARGET_ARCH") == "aarch64").then_some("-mno-outline-atomics"))
        .arg("src/preload/lane.c")
        .arg("-o")
        .arg(&out);
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(())
}
