//! `cargo xtask setup`: sees what a build needs and installs what is missing, on Debian and Ubuntu through apt.
//!
//! Does nothing, and quickly, if all is there. On other systems it says what to install and changes nothing.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::in_path;
use crate::term::Paint;

struct Need {
    /// What it is, for people.
    what: &'static str,
    /// Debian packages that bring it.
    packages: &'static [&'static str],
    present: fn() -> bool,
    /// Without it an ordinary build cannot work; else it is only for release builds with a vendored OpenSSL, and is
    /// installed along when something is installed anyway.
    vital: bool,
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler (SQLite and zstd)",
        packages: &["gcc", "libc6-dev"],
        present: has_compiler,
        vital: true,
    },
    Need { what: "OpenSSL's headers (SQLCipher)", packages: &["libssl-dev"], present: has_openssl, vital: true },
    Need { what: "pkg-config", packages: &["pkg-config"], present: || in_path("pkg-config"), vital: false },
    Need { what: "make", packages: &["make"], present: || in_path("make"), vital: false },
    Need { what: "perl", packages: &["perl"], present: || in_path("perl"), vital: false },
];

/// Makes sure that the tree can be built.
///
/// # Errors
/// What is missing and how to install it, if it cannot be installed from here.
pub(crate) fn ensure(paint: Paint) -> Result<(), String> {
    if cfg!(windows) {
        // OPENSSL_DIR or vcpkg; there is no place that could be probed cheaply, and the build says so by itself.
        return Ok(());
    }
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.present)()).collect();
    if !missing.iter().any(|need| need.vital) {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().filter(|need| need.vital).map(|need| need.what).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
    println!("{} {}", paint.bold("missing:"), names.join(", "));
    if !Path::new("/etc/debian_version").exists() || !in_path("apt-get") {
        return Err(format!("install {} and start again:\n{}", names.join(" and "), other_systems()));
    }
    let rights = rights().ok_or_else(|| {
        format!("this needs root, and there is no sudo. As root:\n  apt-get install {}", packages.join(" "))
    })?;
    apt(paint, rights, &["update"])?;
    let mut install = vec!["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
    install.extend(&packages);
    apt(paint, rights, &install)?;
    let still: Vec<&str> = NEEDS.iter().filter(|need| need.vital && !(need.present)()).map(|need| need.what).collect();
    if still.is_empty() { Ok(()) } else { Err(format!("still missing after the installation: {}", still.join(", "))) }
}

/// Makes sure that there is a browser for the interface's tests, on Debian and Ubuntu.
///
/// # Errors
/// What to install, if it cannot be installed from here.
pub(crate) fn ensure_browser(paint: Paint) -> Result<(), String> {
    if in_path("chromium") {
        return Ok(());
    }
    let packages = ["chromium", "fonts-noto-core", "fonts-noto-color-emoji"];
    if !Path::new("/etc/debian_version").exists() || !in_path("apt-get") {
        return Err("the interface is tested in Chromium: install it and start again".to_owned());
    }
    let rights = rights().ok_or_else(|| format!("as root: apt-get install {}", packages.join(" ")))?;
    apt(paint, rights, &["update"])?;
    let mut install = vec!["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
    install.extend(packages);
    apt(paint, rights, &install)
}

/// Makes sure that cargo has its formatter and its linter.
///
/// # Errors
/// A sentence for the user, if rustup is not there or fails.
pub(crate) fn ensure_components(paint: Paint) -> Result<(), String> {
    let works = |sub: &str| quiet(Command::new("cargo").args([sub, "--version"]));
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .iter()
        .filter(|(sub, _)| !works(sub))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("rustup");
    command.args(["component", "add"]).args(&missing);
    announce(paint, &command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("cargo lacks {0}; install with `rustup component add {0}`", missing.join(" "))),
    }
}

fn has_compiler() -> bool {
    compiles("int main(void) { return 0; }")
}

/// Asks the compiler itself: that is right for every layout of include folders.
fn has_openssl() -> bool {
    std::env::var_os("OPENSSL_DIR").is_some()
        || std::env::var_os("OPENSSL_INCLUDE_DIR").is_some()
        || compiles("#include <openssl/crypto.h>\n")
}

fn compiles(source: &str) -> bool {
    let spawned = Command::new("cc")
        .args(["-E", "-x", "c", "-", "-o", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else { return false };
    // Dropping the pipe closes it, which ends the compiler's input.
    let written = child.stdin.take().is_some_and(|mut pipe| pipe.write_all(source.as_bytes()).is_ok());
    child.wait().is_ok_and(|status| status.success()) && written
}

#[derive(Clone, Copy)]
enum Rights {
    Root,
    Sudo,
}

fn rights() -> Option<Rights> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.trim_ascii() == b"0" {
        return Some(Rights::Root);
    }
    in_path("sudo").then_some(Rights::Sudo)
}

fn apt(paint: Paint, rights: Rights, args: &[&str]) -> Result<(), String> {
    let mut command = match rights {
        Rights::Root => Command::new("env"),
        Rights::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.arg("env");
            sudo
        }
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args);
    announce(paint, &command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("apt-get {} failed ({status}); see its message above", args[0])),
        Err(e) => Err(format!("cannot start apt-get: {e}")),
    }
}

fn announce(paint: Paint, command: &Command) {
    println!("{} {}", paint.bold("installing:"), paint.command(&crate::stage::show_command(command)));
}

fn other_systems() -> &'static str {
    "  Fedora:   dnf install gcc openssl-devel pkgconf make perl\n  \
       Arch:     pacman -S base-devel openssl\n  \
       Alpine:   apk add build-base openssl-dev pkgconf perl\n  \
       macOS:    xcode-select --install; brew install openssl@3; export OPENSSL_DIR=$(brew --prefix openssl@3)"
}

fn quiet(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_probe_tells_present_from_missing_headers() {
        assert!(compiles("#include <stddef.h>\n"));
        assert!(!compiles("#include <tombolo/no_such_header.h>\n"));
    }
}
