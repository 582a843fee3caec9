use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// What the keeper does. Its input ends with the test, however that ends: then the server is killed, and its folder goes.
const SCRIPT: &str = r#"
folder=$1; shift
while read -r word; do
    case $word in
        start) "$@" >>"$folder/log" 2>&1 & server=$! ;;
        # Postgres has a process for each connection.
        *) kill -"$word" "$server" $(cat "/proc/$server/task/$server/children"); if [ "$word" = KILL ]; then wait "$server"; fi ;;
    esac
    echo done
done
kill -KILL "$server"; wait "$server"
rm -rf "$folder"
"#;

/// A shell that starts a server and sends it signals, and outlives the test for long enough to clean up.
pub(crate) struct Keeper {
    shell: Child,
    words: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Keeper {
    pub(crate) fn new(folder: &Path, server: &[String]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "keeper"]).arg(folder).args(server);
        // A group of its own: a signal from the keyboard ends the test, and the end of the test this.
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut shell = shell.spawn().expect("a shell");
        let words = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
        Self { shell, words: Mutex::new(words) }
    }

    /// `start`, or the name of a signal for the server.
    pub(crate) fn tell(&self, word: &str) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = &mut *words;
        writeln!(input, "{word}").expect("the keeper listens");
        let mut answer = String::new();
        output.read_line(&mut answer).expect("the keeper answers");
        assert_eq!(answer, "done\n", "{word}");
    }

    /// Kills the server and waits until everything is gone.
    pub(crate) fn end(self) {
        let Self { mut shell, words } = self;
        drop(words);
        shell.wait().expect("the keeper ends");
    }
}
