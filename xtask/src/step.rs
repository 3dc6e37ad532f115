use std::env;
use std::process::Command;

/// One command, shown before it runs.
pub(crate) struct Step {
    program: String,
    arguments: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
}

impl Step {
    /// A command line, with no space in any argument.
    pub(crate) fn of(line: &str) -> Self {
        let mut words = line.split(' ').map(str::to_owned);
        Self { program: words.next().unwrap_or_default(), arguments: words.collect(), variables: Vec::new() }
    }

    /// With this in its environment.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// With these arguments at its end.
    pub(crate) fn and(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Result<(), String> {
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={value} "));
        let shown = format!("{}{} {}", variables.collect::<String>(), self.program, self.arguments.join(" "));
        eprintln!("xtask: {shown}");
        // The cargo that runs this, and not another one on the path.
        let program = match self.program.as_str() {
            "cargo" => env::var_os("CARGO").unwrap_or("cargo".into()),
            other => other.into(),
        };
        let status = Command::new(program).args(&self.arguments).envs(self.variables.iter().copied()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{shown}: {status}")),
            Err(error) => Err(format!("{shown}: {error}")),
        }
    }
}
