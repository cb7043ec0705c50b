//! `riley-auth man`: manual pages, one for the program and one for each command, made from what `--help` knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::print;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The command whose page is printed; the program's own if none is named
    command: Option<String>,
    /// Write the pages of all commands into this directory, for `man` to find
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output_dir: Option<PathBuf>,
}

/// Where the configuration is looked for, in order.
const FILES: [(&str, &str); 4] = [
    (
        "./riley-auth.toml",
        "In the working directory or the nearest of its parents that has one.",
    ),
    ("~/.config/riley-auth/riley-auth.toml", "The user's own."),
    ("/etc/riley-auth/riley-auth.toml", "The machine's."),
    (
        "config.example.toml",
        "In the source: every key with its purpose, unit and default.",
    ),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "RILEY_AUTH_CONFIG",
        "The configuration file, where --config names none.",
    ),
    (
        "RILEY_AUTH__SECTION__KEY",
        "Wins over the key of the file; RILEY_AUTH__SERVER__PORT=9000 is server.port. Values are read as TOML unless the key \
         takes a string.",
    ),
    (
        "RUST_LOG",
        "What is logged, such as info,riley_auth=debug; wins over log.level.",
    ),
    (
        "NOTIFY_SOCKET",
        "Set by systemd for a service of Type=notify: serve tells there that it is ready, reloads and stops.",
    ),
];

const EXIT_STATUS: [(&str, &str); 3] = [
    ("0", "It was done."),
    (
        "1",
        "It failed, and standard error says why; or something that was checked is wrong.",
    ),
    ("2", "It was called wrongly."),
];

/// What a page says beyond `--help`, in paragraphs.
fn details(command: &str) -> &'static [&'static str] {
    match command {
        "serve" => &[
            "Migrates the database unless database.migrate is false, then listens on server.host and server.port.",
            "SIGTERM and SIGINT stop it in order: /ready turns false, nobody new is let in, requests in flight are finished \
             within server.shutdown_grace_secs, and it ends with 0. A second signal ends it at once.",
            "SIGHUP reads the configuration and the keys anew, as does a change of their files. Signing keys and the numbers \
             of [rate_limiting] are taken over; the log says what else has changed and waits for the next start. A \
             configuration with errors is refused and the old one stays.",
            "Built with the feature opentelemetry it sends a span of each request to the collector of telemetry.endpoint or \
             of the standard OTEL_ variables.",
            "It speaks plain HTTP/1.1 and belongs behind a proxy that speaks TLS.",
        ],
        "validate" => &[
            "Without an option it reads the configuration, loads the keys, asks the database for its version, migrations and \
             privileges, looks whether what a pooler in front of it does is what requests need, asks every provider for its discovery document, and Redis, where rate_limiting.redis_url names one, to \
             run the server's script.",
            "With --live it also looks at the running server from outside, through the public URL that the issuer names: \
             discovery and keys byte for byte, what the proxies in front make of scheme, host, client address, cookies and \
             headers, whether /metrics answers everybody, the clock, and the URLs of every registered app. It proves itself to \
             the server by database.secret_key, so it has to run with the server's own configuration; nobody else is told what \
             it is told.",
            "A finding is an error or a warning. It names the key, what is wrong, and how to mend it. With --json the \
             findings are an array, for programs.",
        ],
        "healthcheck" => &[
            "Needs of the configuration only address, port and the issuer's path, and no secret. A server that listens on \
             every interface is asked on loopback.",
        ],
        "migrate" => &[
            "Applies the migrations that are missing, one instance at a time: others wait. It may run as another database \
             user than the server, who then needs no right to create tables.",
        ],
        "generate-keys" => &[
            "Private keys are written with mode 0600 and never overwritten.",
            "With --prepend-to the new key is published at once and signs only after jwt.jwks_cache_max_age_secs, when every \
             app that keeps a copy of the keys has fetched it. A running server takes it over by itself. riley-auth keys \
             tells when the old key may go.",
        ],
        "dev" => &[
            "Starts a private PostgreSQL from the programs on this machine, a simulated provider, a demo app and example \
             pages. Everything listens on loopback alone and answers only to loopback names.",
        ],
        "config-schema" => &[
            "Save it beside the configuration and name it in the first line, #:schema ./riley-auth.schema.json, for editors \
             that know Even Better TOML or Taplo.",
        ],
        _ => &[],
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut program = super::command().disable_help_subcommand(true);
    program.build();
    if let Some(directory) = &args.output_dir {
        return write_all(&program, directory);
    }
    let command = match &args.command {
        None => &program,
        Some(name) => program
            .find_subcommand(name)
            .with_context(|| format!("there is no command {name}; `riley-auth --help` lists them"))?,
    };
    print(&page(&program, command)?)
}

fn write_all(program: &clap::Command, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    for command in std::iter::once(program).chain(shown(program)) {
        let path = directory.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(program, command)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// The commands that `--help` lists.
fn shown(program: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

/// One page: NAME, SYNOPSIS, DESCRIPTION, OPTIONS, COMMANDS, EXAMPLES, EXIT STATUS, FILES, ENVIRONMENT, SEE ALSO.
fn page(program: &clap::Command, command: &clap::Command) -> anyhow::Result<String> {
    let is_program = command.get_name() == program.get_name();
    let man = Man::new(command.clone())
        .source(format!(
            "riley-auth {}",
            program.get_version().unwrap_or_default()
        ))
        .manual("riley-auth manual");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    let mut more = Roff::new();
    for paragraph in details(command.get_name()) {
        more.control("PP", []).text([roman(*paragraph)]);
    }
    more.to_writer(&mut out)?;
    man.render_options_section(&mut out)?;
    if is_program {
        man.render_subcommands_section(&mut out)?;
    }
    let mut rest = Roff::new();
    examples(&mut rest, command);
    list(&mut rest, "EXIT STATUS", &EXIT_STATUS);
    list(&mut rest, "FILES", &FILES);
    list(&mut rest, "ENVIRONMENT", &ENVIRONMENT);
    see_also(&mut rest, program, command);
    rest.to_writer(&mut out)?;
    Ok(String::from_utf8(out)?)
}

/// The examples of `--help`, their lines as they are.
fn examples(page: &mut Roff, command: &clap::Command) {
    let Some(help) = command.get_after_help() else {
        return;
    };
    let text = help.to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "Examples:");
    page.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in lines {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

fn list(page: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    page.control("SH", [heading]);
    for (term, meaning) in entries {
        page.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
    }
}

fn see_also(page: &mut Roff, program: &clap::Command, command: &clap::Command) {
    let own = command.get_name();
    let name = |other: &clap::Command| {
        let name = other.get_display_name().unwrap_or_else(|| other.get_name());
        format!("{name}(1)")
    };
    let others: Vec<String> = std::iter::once(program)
        .chain(shown(program))
        .filter(|other| other.get_name() != own)
        .map(name)
        .collect();
    page.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
}
