//! A Rust plugin as a shared library: [`export!`](crate::export!) in a `cdylib`.
//!
//! The plugin stays the crate it is, with its [`Factory`], [`Source`] and [`Sink`]; the library is an example of it of a
//! line or two, with `crate-type = ["cdylib"]`. All instances of a library share one tokio runtime of its own: tokio keeps
//! its context in thread-locals, of which each copy has others.
//!
//! What there is of the [`Context`](crate::Context): publishing rates and lists of pairs, health, the clocks, the end. Log
//! lines from `info` up go to ratebus, counters and gauges that are made in the task of `run` too, with their labels in
//! their names. Routes, sessions, requests and last values are not there. A sink hears the newest message of each subject
//! under its patterns, whatever policy it asks for, the last values first. Of the [`Env`](crate::Env) there are the tables
//! of pairs, as they were when the component was built.

pub mod convert;
mod host;
mod instance;
mod log;
mod measures;
#[cfg(test)]
mod tests;

use std::ffi::c_void;

pub use ratebus_abi as abi;
use ratebus_abi::{Buffer, Component, Plugin, Setup, Text};

use crate::{Factory, Sink, Source};
use instance::Built;

/// Makes the library's descriptor. Once in a `cdylib`.
///
/// ```ignore
/// ratebus_sdk::export!(Acme);                     // a source
/// ratebus_sdk::export!(source Acme, sink Bell);   // whatever there is
/// ```
#[macro_export]
macro_rules! export {
    ($component:ty) => {
        $crate::export!(source $component);
    };
    ($($kind:ident $component:ty),+ $(,)?) => {
        const _: () = {
            static COMPONENTS: [$crate::export::abi::Component; [$(stringify!($kind)),+].len()] =
                [$($crate::export::$kind::<$component>()),+];
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            static ratebus_plugin_v1: $crate::export::abi::Plugin =
                $crate::export::plugin(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), &COMPONENTS);
        };
    };
}

/// The descriptor of a library, for [`export!`](crate::export!).
#[expect(clippy::cast_possible_truncation, reason = "a handful of components")]
pub const fn plugin(name: &'static str, version: &'static str, components: &'static [Component]) -> Plugin {
    Plugin {
        magic: abi::MAGIC,
        major: abi::MAJOR,
        minor: abi::MINOR,
        size: abi::size_of::<Plugin>(),
        name: Text::new(name),
        version: Text::new(version),
        build: Text::new(concat!("ratebus-sdk ", env!("CARGO_PKG_VERSION"))),
        components: components.as_ptr(),
        count: components.len() as u32,
        stride: abi::size_of::<Component>(),
    }
}

/// A source as a component of a library, for [`export!`](crate::export!).
pub const fn source<T: Factory + Source + 'static>() -> Component {
    Component { kind: abi::component::SOURCE, interests: None, deliver: None, ..sink_of(T::TYPE, create_source::<T>) }
}

/// A sink as a component of a library, for [`export!`](crate::export!).
pub const fn sink<T: Factory + Sink + 'static>() -> Component {
    sink_of(T::TYPE, create_sink::<T>)
}

const fn sink_of(name: &'static str, create: abi::Create) -> Component {
    Component {
        size: abi::size_of::<Component>(),
        kind: abi::component::SINK,
        r#type: Text::new(name),
        create: Some(create),
        start: Some(instance::start),
        on_writable: Some(instance::on_writable),
        interests: Some(instance::interests),
        deliver: Some(instance::deliver),
        stop: Some(instance::stop),
        destroy: Some(instance::destroy),
    }
}

#[expect(unsafe_code, reason = "called by ratebus")]
unsafe extern "C" fn create_source<T: Factory + Source + 'static>(
    setup: *mut Setup,
    error: *mut Buffer,
    instance: *mut *mut c_void,
) -> i32 {
    let build = |config, env: &_| Ok(Built::Source(Box::new(T::build(config, env)?)));
    // SAFETY: the caller's promises are those of `create`.
    unsafe { instance::create::<T>(setup, error, instance, build) }
}

#[expect(unsafe_code, reason = "called by ratebus")]
unsafe extern "C" fn create_sink<T: Factory + Sink + 'static>(
    setup: *mut Setup,
    error: *mut Buffer,
    instance: *mut *mut c_void,
) -> i32 {
    let build = |config, env: &_| Ok(Built::Sink(Box::new(T::build(config, env)?)));
    // SAFETY: as above.
    unsafe { instance::create::<T>(setup, error, instance, build) }
}
