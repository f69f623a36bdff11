//! The binary `tombolo-relay`: command line, logging, signals. Everything else is in the library beside it.
//!
//! Exit codes: 0 done, 1 failed (message and hint on standard error), 2 wrong usage. `serve` prints
//! `listening on ws://HOST:PORT` as the first line on standard output; everything that is logged goes to standard error.

mod logging;
mod people;

use clap::{Args, Parser, Subcommand};
use logging::Logging;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tombolo_relay::{Config, Faults, Moved, Place, Relay, RelayError, Status, ThrowAway, Tls};

/// A graceful stop that takes longer than this has failed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(
    name = "tombolo-relay",
    version,
    about = "Keeps and passes on what people write with Tombolo; cannot read it."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a data folder: key, database, and a configuration that explains every setting.
    Init {
        #[command(flatten)]
        data: Data,
        /// Where to listen, HOST:PORT.
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// Where the relay lives, in your words.
        #[arg(long)]
        region: Option<String>,
        /// The address that clients use, where it is another one.
        #[arg(long)]
        url: Option<String>,
    },
    /// Checks a configuration without starting anything.
    CheckConfig {
        #[command(flatten)]
        data: Data,
        /// The configuration; default: relay.toml in the data folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Runs the relay. Works without `init`: what is missing is made.
    Serve(Serve),
    /// Tells clients, signed, that this relay has another address from now on.
    Moved {
        #[command(flatten)]
        data: Data,
        /// The new address, ws://... or wss://...
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Says what is in a data folder, and whether a relay runs on it.
    Status {
        #[command(flatten)]
        data: Data,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Data {
    /// The data folder.
    #[arg(long = "data", value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Args)]
struct Serve {
    /// The data folder.
    #[arg(long, value_name = "DIR", required_unless_present = "dev")]
    data: Option<PathBuf>,
    /// Where to listen, HOST:PORT; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The configuration; default: relay.toml in the data folder, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Certificate chain in PEM, leaf first.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Private key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Listen without TLS where others can reach it. They then see who talks with whom, and when.
    #[arg(long)]
    insecure_plain: bool,
    /// For developers: loopback, a data folder that is gone afterwards (unless --data), faults on purpose.
    #[arg(long)]
    dev: bool,
    /// Every frame comes this many milliseconds late.
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "dev")]
    delay: u64,
    /// Of 1,000 frames this many take their connection with them.
    #[arg(long, value_name = "PERMILLE", default_value_t = 0, requires = "dev", value_parser = clap::value_parser!(u32).range(0..=1000))]
    drop: u32,
    /// All connections are cut every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "dev")]
    cut: u64,
}

fn main() -> ExitCode {
    // Before anything makes a TLS configuration: one provider for the whole process. It is the first, so it is taken.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let logging = Logging::start();
    match run(cli.command, &logging) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Somebody who closed standard error does not want to know.
            let _ = writeln!(std::io::stderr(), "error: {error} [{}]\nhint: {}", error.code(), error.hint());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, logging: &Logging) -> Result<(), RelayError> {
    match command {
        Command::Init { data, listen, region, url } => {
            let mut config = Config::default();
            config.listen = listen.unwrap_or(config.listen);
            config.region = region.unwrap_or_default();
            config.url = url.unwrap_or_default();
            let place = Place::new(data.folder);
            let key = place.init(&config)?;
            let folder = place.folder().display();
            say(&format!(
                "relay key {}\nwrote {folder}/relay.toml: look through it, then\n  tombolo-relay serve --data {folder}",
                key.id()
            ));
            Ok(())
        }
        Command::CheckConfig { data, config } => {
            let place = Place::new(data.folder);
            let path = config.or_else(|| place.config()).ok_or_else(|| RelayError::ConfigFile {
                path: place.folder().join("relay.toml"),
                reason: "it does not exist".into(),
            })?;
            Config::read(&path)?.check_all()?;
            say(&format!("{} is in order", path.display()));
            Ok(())
        }
        Command::Serve(serve) => run_serve(serve, logging),
        Command::Moved { data, to } => {
            let moved = Moved::declare(&Place::new(data.folder), &to, now_ms())?;
            say(&format!("clients of this relay are told, signed, that it is at {} from now on", moved.url));
            Ok(())
        }
        Command::Status { data, json } => {
            let status = Status::of(&Place::new(data.folder))?;
            say(&if json { serde_json::json!(status).to_string() } else { lines(&status) });
            Ok(())
        }
    }
}

/// What `serve` runs with: the file, then the command line.
fn settings(serve: &Serve, place: &Place) -> Result<Config, RelayError> {
    let file = serve.config.clone().or_else(|| place.config());
    let mut config = file.map_or(Ok(Config::default()), |path| Config::read(&path))?;
    if let Some(listen) = &serve.listen {
        config.listen.clone_from(listen);
    }
    if let (Some(certificate), Some(key)) = (&serve.certificate, &serve.key) {
        config.tls = Some(Tls { certificate: certificate.clone(), key: key.clone() });
    }
    config.insecure_plain |= serve.insecure_plain;
    config.faults = Faults { delay_ms: serve.delay, drop_permille: serve.drop, cut_s: serve.cut };
    if serve.dev {
        // For this machine only, whatever else is said.
        config.insecure_plain = false;
        config.tls = None;
    }
    Ok(config)
}

fn run_serve(serve: Serve, logging: &Logging) -> Result<(), RelayError> {
    let throw_away = if serve.data.is_none() { Some(ThrowAway::new()?) } else { None };
    let folder = serve.data.clone().or_else(|| throw_away.as_ref().map(|folder| folder.path().into()));
    let place = Place::new(folder.unwrap_or_default());
    let config = settings(&serve, &place)?;
    logging.set(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| RelayError::System(format!("no runtime: {error}")))?;
    let result = runtime.block_on(async {
        // Before anybody can know that the relay runs, so that no signal ends it the hard way.
        let signals = Signals::new()?;
        let relay = Relay::start(&place, config).await?;
        say(&format!("listening on {}\nrelay key {}", relay.listening(), relay.key()));
        if serve.dev {
            let (url, folder) = (relay.listening().to_owned(), place.folder().join("people"));
            // The relay must answer meanwhile.
            tokio::task::spawn_blocking(move || say(&people(&url, &folder)));
        }
        until_told(relay, signals, || settings(&serve, &place), logging).await
    });
    // Tasks that wait for a peer have nothing left to do.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// What the operator wants.
enum Told {
    Stop,
    ReadAgain,
}

/// SIGTERM and SIGINT stop, SIGHUP reads settings again; elsewhere Ctrl-C stops.
struct Signals {
    #[cfg(unix)]
    streams: [tokio::signal::unix::Signal; 3],
    #[cfg(not(unix))]
    stop: tokio::signal::windows::CtrlC,
}

impl Signals {
    fn new() -> Result<Self, RelayError> {
        let failed = |error: std::io::Error| RelayError::System(format!("no signals: {error}"));
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let of = |kind| signal(kind).map_err(failed);
            Ok(Self {
                streams: [of(SignalKind::terminate())?, of(SignalKind::interrupt())?, of(SignalKind::hangup())?],
            })
        }
        #[cfg(not(unix))]
        Ok(Self { stop: tokio::signal::windows::ctrl_c().map_err(failed)? })
    }

    async fn next(&mut self) -> Told {
        #[cfg(unix)]
        {
            let [terminate, interrupt, hang_up] = &mut self.streams;
            tokio::select! {
                _ = terminate.recv() => Told::Stop,
                _ = interrupt.recv() => Told::Stop,
                _ = hang_up.recv() => Told::ReadAgain,
            }
        }
        #[cfg(not(unix))]
        {
            self.stop.recv().await;
            Told::Stop
        }
    }
}

/// Runs until a signal or until the relay cannot go on.
async fn until_told(
    mut relay: Relay,
    mut signals: Signals,
    settings: impl Fn() -> Result<Config, RelayError>,
    logging: &Logging,
) -> Result<(), RelayError> {
    loop {
        let told = tokio::select! {
            error = relay.failed() => return Err(error),
            told = signals.next() => told,
        };
        match told {
            Told::Stop => break,
            Told::ReadAgain => {
                relay.reload_certificate();
                match settings() {
                    Ok(config) => logging.set(&config.log),
                    Err(error) => tracing::error!("the configuration was not read again: {error}"),
                }
            }
        }
    }
    tokio::time::timeout(STOP_WITHIN, relay.stop()).await.unwrap_or(Err(RelayError::OwnerLost))
}

/// Makes people up for developers, or says how they can do so.
fn people(url: &str, folder: &std::path::Path) -> String {
    let why = match people::program() {
        // Those of an earlier run, where the data folder is kept.
        Some(_) if folder.exists() => return format!("the people in {} are as they were", folder.display()),
        Some(program) => match people::seed(&program, folder, url) {
            Ok(words) => return words,
            Err(words) => words,
        },
        None => "the program `tombolo` is neither beside this one nor in PATH".to_owned(),
    };
    let call = |person: &str| format!("tombolo --home {} --key-store file", folder.join(person).display());
    let (ann, bob) = (call("ann"), call("bob"));
    format!(
        "no people were made up: {why}\n\
         to make two by hand:\n\
         \x20 {ann} init --name Ann --relay {url}\n\
         \x20 {bob} init --name Bob --relay {url}\n\
         \x20 {ann} invite            # prints LINK and the conversation C\n\
         \x20 {ann} sync --once\n\
         \x20 {bob} accept LINK\n\
         \x20 {bob} sync --once\n\
         \x20 {ann} send C hello\n\
         \x20 {ann} watch             # and {bob} watch"
    )
}

fn lines(status: &Status) -> String {
    let or_no = |text: &Option<String>| text.clone().unwrap_or_else(|| "no".into());
    format!(
        "relay key       {}\nrunning at      {}\nregion          {}\nmoved to        {}\nconversations   {}\nops             {}\n\
         accounts        {}\nstored bytes    {}\ndatabase bytes  {}",
        status.relay,
        or_no(&status.listening),
        if status.region.is_empty() { "not said" } else { &status.region },
        or_no(&status.moved_to),
        status.conversations,
        status.ops,
        status.accounts,
        status.stored_bytes,
        status.database_bytes,
    )
}

/// Prints; a reader that is gone is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
