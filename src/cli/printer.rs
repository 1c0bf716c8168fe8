//! The only place that prints. Results go to stdout, everything else to stderr.
//!
//! It promises that a reader who stops listening (`muster query … | head`) ends the printing quietly,
//! that a disk full of redirected output does not, and that colour appears only on terminals whose
//! user did not say `NO_COLOR`. It never decides what to say.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::MultiProgress;
use serde::Serialize;

use super::args::Format;

/// Bars on stderr, if there are any: whoever writes there lets them step aside.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Where the results of one command go, and how.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    pub format: Format,
    pub stderr: Stream,
}

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    pub is_terminal: bool,
    pub paint: Paint,
}

/// Whether words may be coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Colour,
}

/// What a word is, as far as its colour tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Error,
    Warning,
    Hint,
    Frame,
    Strong,
}

impl Printer {
    pub fn new(format: Format) -> Self {
        Self { format, stderr: Stream::of(io::stderr().is_terminal()) }
    }

    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Results for people; ends with a line break whether or not `text` does.
    #[expect(clippy::unused_self, reason = "whoever prints must have been handed the printer")]
    pub fn print(self, text: &str) -> io::Result<()> {
        write_all(&mut io::stdout().lock(), text)
    }

    /// Results for programs: one document.
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.print(&text)
    }

    /// Everything else. What cannot be said on stderr cannot be said at all.
    #[expect(clippy::unused_self, reason = "whoever prints must have been handed the printer")]
    pub fn say(self, text: &str) {
        let _ = Stderr.write_all(ended(text).as_bytes());
    }
}

impl Stream {
    fn of(is_terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let paint = if is_terminal && !unwanted && !dumb { Paint::Colour } else { Paint::Plain };
        Self { is_terminal, paint }
    }
}

impl Paint {
    pub fn with(self, ink: Ink, text: &str) -> String {
        let code = match (self, ink) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Colour, Ink::Error) => "1;31",
            (Self::Colour, Ink::Warning) => "1;33",
            (Self::Colour, Ink::Hint) => "36",
            (Self::Colour, Ink::Frame) => "1;34",
            (Self::Colour, Ink::Strong) => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Stderr for whoever writes bytes: bars step aside while they are written.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write_all(bytes);
        match BARS.get() {
            Some(bars) => bars.suspend(write)?,
            None => write()?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// The bars of this process; made when first asked for.
pub fn bars() -> &'static MultiProgress {
    BARS.get_or_init(MultiProgress::new)
}

fn write_all(stream: &mut impl Write, text: &str) -> io::Result<()> {
    match stream.write_all(ended(text).as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn ended(text: &str) -> std::borrow::Cow<'_, str> {
    if text.ends_with('\n') { text.into() } else { format!("{text}\n").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
        assert!(write_all(&mut Failing(ErrorKind::BrokenPipe), "x").is_ok());
        assert!(write_all(&mut Failing(ErrorKind::StorageFull), "x").is_err());
    }

    #[test]
    fn what_is_printed_ends_with_one_line_break() {
        for text in ["a", "a\n"] {
            let mut written = Vec::new();
            write_all(&mut written, text).unwrap();
            assert_eq!(written, b"a\n");
        }
    }

    #[test]
    fn plain_paint_leaves_words_alone() {
        assert_eq!(Paint::Plain.with(Ink::Error, "error"), "error");
        assert_eq!(Paint::Colour.with(Ink::Error, "error"), "\u{1b}[1;31merror\u{1b}[0m");
    }
}
