//! What is logged, to standard error. The filter can be changed while the relay runs.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// Comes before the configuration.
const VARIABLE: &str = "TOMBOLO_LOG";

/// The running log.
pub(crate) struct Logging {
    filter: Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Begins with the environment's filter, or warnings.
    pub(crate) fn start() -> Self {
        let first = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn"));
        let (filter, handle) = reload::Layer::new(first);
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
        let text = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
        // Nobody else in this process logs.
        let _ = tracing_subscriber::registry().with(filter).with(text).try_init();
        Self { filter: handle }
    }

    /// Takes over the configured filter, unless the environment says something else.
    pub(crate) fn set(&self, filter: &str) {
        if std::env::var_os(VARIABLE).is_some() {
            return;
        }
        match EnvFilter::try_new(filter) {
            Ok(new) => {
                // Fails only when the log is gone.
                let _ = self.filter.reload(new);
            }
            Err(error) => tracing::error!("`{filter}` is no log filter, the old one stays: {error}"),
        }
    }
}
