//! The signals by which a process is told to end.

use tokio::sync::oneshot;

/// What comes when the process is told to end, and when it is told again. A thread of its own waits for them: the
/// caller may be in any runtime, or in none.
pub(crate) fn watch() -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let (first, first_came) = oneshot::channel();
    let (second, second_came) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("grange-signals".into()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async move {
            let Some(mut told) = Told::new() else { return };
            told.wait().await;
            let _ = first.send(());
            told.wait().await;
            let _ = second.send(());
        });
    });
    if let Err(error) = spawned {
        tracing::error!(target: "grange", %error, "no thread can be started to wait for signals: the silo ends now");
    }
    (first_came, second_came)
}

#[cfg(unix)]
struct Told {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Told {
    fn new() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let told = signal(SignalKind::terminate())
            .and_then(|terminate| Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? }));
        told.inspect_err(|error| tracing::error!(target: "grange", %error, "signals can't be waited for")).ok()
    }

    async fn wait(&mut self) {
        let (terminate, interrupt) = (std::pin::pin!(self.terminate.recv()), std::pin::pin!(self.interrupt.recv()));
        futures_util::future::select(terminate, interrupt).await;
    }
}

#[cfg(not(unix))]
struct Told;

#[cfg(not(unix))]
impl Told {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn wait(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
