use std::marker::PhantomData;

use ratebus_sdk::{Context, Error, Factory, Inbox, Interest, Sink, Source};

/// A plugin that runs: to the kit a source is a sink that wants to hear nothing.
pub trait Component {
    /// How it comes into being.
    type Plugin: Factory + Send + 'static;

    /// What it wants to hear.
    fn interests(plugin: &Self::Plugin) -> Vec<Interest>;

    /// Runs it.
    fn run(
        plugin: Self::Plugin,
        inbox: Inbox,
        ctx: Context,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static;
}

/// A source as a [`Component`].
#[derive(Debug)]
pub struct AsSource<S>(PhantomData<S>);

/// A sink as a [`Component`].
#[derive(Debug)]
pub struct AsSink<S>(PhantomData<S>);

impl<S: Factory + Source + 'static> Component for AsSource<S> {
    type Plugin = S;

    fn interests(_: &S) -> Vec<Interest> {
        Vec::new()
    }

    fn run(plugin: S, _: Inbox, ctx: Context) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        Box::new(plugin).run(ctx)
    }
}

impl<S: Factory + Sink + 'static> Component for AsSink<S> {
    type Plugin = S;

    fn interests(plugin: &S) -> Vec<Interest> {
        plugin.interests()
    }

    fn run(plugin: S, inbox: Inbox, ctx: Context) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        Box::new(plugin).run(inbox, ctx)
    }
}
