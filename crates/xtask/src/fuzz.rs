//! `cargo xtask fuzz`: fuzzing with cargo-fuzz, which needs a nightly compiler.
//!
//! Ordinary tests replay the corpus; this is for finding new inputs, which go to `fuzz-corpus` in the target folder. The
//! targets are in `tests/fuzz`.

use std::process::Command;

use crate::place::Place;
use crate::suite;

/// What to fuzz and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fuzz {
    /// Without one, every target has its turn.
    target: Option<String>,
    seconds: u64,
}

impl Fuzz {
    /// Reads `[TARGET] [--seconds N]`.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut fuzz = Self { target: None, seconds: 60 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--seconds" {
                let value = args.next().ok_or("--seconds needs a value")?;
                fuzz.seconds = value.parse().map_err(|_| format!("--seconds {value}: not a number"))?;
            } else if arg.starts_with('-') || fuzz.target.is_some() {
                return Err(format!("`{arg}` is not known here"));
            } else {
                fuzz.target = Some(arg.clone());
            }
        }
        Ok(fuzz)
    }

    /// Fuzzes.
    ///
    /// # Errors
    /// What is missing, or that an input was found that breaks something.
    pub(crate) fn run(&self, place: &Place) -> Result<(), String> {
        let dir = place.root.join("tests").join("fuzz");
        if !dir.join("Cargo.toml").is_file() {
            return Err("there are no fuzz targets yet (tests/fuzz)".to_owned());
        }
        if !nightly(place, &["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
            return Err("fuzzing needs nightly Rust and cargo-fuzz:\n  rustup toolchain install nightly\n  \
                        cargo install --locked cargo-fuzz"
                .to_owned());
        }
        let targets = match &self.target {
            Some(target) => vec![target.clone()],
            None => self.all(place)?,
        };
        for target in targets {
            // New inputs go to the first folder. They are thousands; what is worth keeping is chosen by hand.
            let found = place.target.join("fuzz-corpus").join(&target);
            std::fs::create_dir_all(&found).map_err(|e| format!("cannot make {}: {e}", found.display()))?;
            let mut command = nightly(place, &["fuzz", "run", "--fuzz-dir", "tests/fuzz", &target]);
            command.arg(&found).arg(dir.join("corpus").join(&target));
            command.arg("--").arg(format!("-max_total_time={}", self.seconds));
            suite::finish(command)?;
            println!("new inputs are in {}", found.display());
        }
        Ok(())
    }

    fn all(&self, place: &Place) -> Result<Vec<String>, String> {
        let output = nightly(place, &["fuzz", "list", "--fuzz-dir", "tests/fuzz"]).output();
        let output = output.map_err(|e| format!("cannot list the targets: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
    }
}

/// Cargo of the nightly toolchain: our own was chosen by rustup and would be passed on.
fn nightly(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(args).current_dir(&place.root);
    place.clean(&mut command);
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fuzz, String> {
        Fuzz::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read() {
        assert_eq!(parse(""), Ok(Fuzz { target: None, seconds: 60 }));
        assert_eq!(parse("frame --seconds 5"), Ok(Fuzz { target: Some("frame".to_owned()), seconds: 5 }));
        assert!(parse("frame op").is_err());
        assert!(parse("--seconds x").is_err());
    }
}
