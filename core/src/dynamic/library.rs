use std::{
    collections::BTreeMap,
    path::Path,
    ptr,
    sync::{Mutex, PoisonError},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use ratebus_abi::{self as abi, MAGIC, MAJOR, SYMBOL, Text};

use super::{Refusal, Sha256, Trial, image::Image, trial};

/// A type of component of a library. It is there for good, as its library is.
#[derive(Debug)]
pub(crate) struct LibraryComponent {
    /// What `use` names it.
    pub(crate) name: String,
    /// The library's version.
    pub(crate) version: String,
    pub(super) create: abi::Create,
    pub(super) start: abi::Start,
    pub(super) on_writable: Option<abi::Tell>,
    /// What only sinks have.
    pub(super) sink: Option<SinkCalls>,
    pub(super) stop: abi::Tell,
    pub(super) destroy: abi::Tell,
}

/// The calls of a sink.
#[derive(Debug, Clone, Copy)]
pub(super) struct SinkCalls {
    pub(super) interests: abi::Interests,
    pub(super) deliver: abi::Deliver,
}

type Components = Result<&'static [LibraryComponent], Refusal>;

/// What became of each image that the dynamic linker has seen: the same bytes are loaded once.
static LOADED: Mutex<BTreeMap<Sha256, Components>> = Mutex::new(BTreeMap::new());

/// The component `wanted` of the library `file` in the folder `dir`, which has to have the hash `pinned`; and the hash it
/// has. Before it is loaded here `trial` is, if there is one.
pub(crate) fn load(
    dir: &Path,
    file: &str,
    pinned: Option<Sha256>,
    wanted: &str,
    trial: Option<Trial>,
) -> Result<(&'static LibraryComponent, Sha256), Refusal> {
    let image = Image::take(dir, file)?;
    let sha256 = image.sha256;
    if pinned.is_some_and(|pinned| pinned != sha256) {
        return Err(Refusal::WrongHash { found: sha256 });
    }
    image.check()?;
    let components = once(image, trial)?;
    let component = components.iter().find(|component| component.name == wanted).ok_or_else(|| {
        let found = components.iter().map(|component| component.name.as_str()).collect::<Vec<_>>().join(", ");
        Refusal::MissingComponent { wanted: wanted.to_owned(), found }
    })?;
    Ok((component, sha256))
}

/// The components of an image, which is loaded if it is not yet.
fn once(image: Image, trial: Option<Trial>) -> Components {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = loaded.get(&image.sha256) {
        return known.clone();
    }
    let sha256 = image.sha256;
    let tried = trial.map_or(Ok(()), |trial| trial::run(trial, &image));
    let found = tried.and_then(|()| components(image));
    // What it lacked may be there the next time.
    if !matches!(found, Err(Refusal::NotLoaded(_))) {
        loaded.insert(sha256, found.clone());
    }
    found
}

fn components(image: Image) -> Components {
    let plugin = descriptor(image)?;
    let malformed = |what: String| Refusal::Malformed(what);
    if plugin.stride < abi::size_of::<abi::Component>() {
        return Err(malformed(format!("components of {} bytes", plugin.stride)));
    }
    if plugin.components.is_null() || plugin.count == 0 {
        return Err(malformed("no components".to_owned()));
    }
    let version = text(plugin.version, "version")?;
    let component = |index: u32| {
        // SAFETY: the descriptor says that so many components lie so far apart, and each is at least as long as ours.
        #[expect(unsafe_code, reason = "an array of another layout")]
        let calls = unsafe { plugin.components.byte_add(index as usize * plugin.stride as usize).read_unaligned() };
        component(calls, &version)
    };
    let all = (0..plugin.count).map(component).collect::<Result<Vec<_>, _>>()?;
    Ok(all.leak())
}

/// The descriptor of a library that was checked, which is loaded for good.
fn descriptor(image: Image) -> Result<abi::Plugin, Refusal> {
    // SAFETY: loading runs the library's own initialisers. It is trusted code: its hash is in the config, or the config
    // says that it need not be. It is whole, for this machine, and cannot change any more.
    #[expect(unsafe_code, reason = "loading a library")]
    let library = unsafe { Library::open(Some(image.path()), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| Refusal::NotLoaded(error.to_string()))?;
    // SAFETY: a pointer to the symbol, whatever it is; it is as long as a descriptor, which `Image::check` has seen.
    #[expect(unsafe_code, reason = "a symbol of a library")]
    let plugin = unsafe { library.get::<*const abi::Plugin>(SYMBOL.as_bytes()) };
    let plugin = plugin.map(|symbol| *symbol).map_err(|_| Refusal::MissingSymbol);
    // Never unloaded: threads of it may run on, and what they left in thread-locals must stay callable.
    std::mem::forget(library);
    image.keep();
    let plugin = plugin?;
    // SAFETY: the magic comes first in every version, then the major. Both are read before anything else is believed.
    #[expect(unsafe_code, reason = "the descriptor is the library's")]
    let (magic, major) =
        unsafe { ((&raw const (*plugin).magic).read_unaligned(), (&raw const (*plugin).major).read_unaligned()) };
    if magic != MAGIC {
        return Err(Refusal::NotAPlugin);
    }
    if major != MAJOR {
        return Err(Refusal::WrongVersion(major));
    }
    // SAFETY: of our major, and so at least as long as ours.
    #[expect(unsafe_code, reason = "the descriptor is the library's")]
    let plugin = unsafe { ptr::read_unaligned(plugin) };
    if plugin.size < abi::size_of::<abi::Plugin>() {
        return Err(Refusal::Malformed(format!("it is {} bytes long", plugin.size)));
    }
    Ok(plugin)
}

fn component(calls: abi::Component, version: &str) -> Result<LibraryComponent, Refusal> {
    let name = text(calls.r#type, "type")?;
    let malformed = |what: &str| Refusal::Malformed(format!("{name:?} {what}"));
    let lacks = || malformed("lacks a call");
    if calls.size < abi::size_of::<abi::Component>() {
        return Err(malformed("is too short"));
    }
    let (prefix, sink) = match calls.kind {
        abi::component::SOURCE => ("source/", None),
        abi::component::SINK => {
            let (interests, deliver) = calls.interests.zip(calls.deliver).ok_or_else(lacks)?;
            ("sink/", Some(SinkCalls { interests, deliver }))
        }
        _ => return Err(malformed("is neither a source nor a sink")),
    };
    if !name.starts_with(prefix) {
        return Err(malformed(&format!("does not begin with {prefix}")));
    }
    Ok(LibraryComponent {
        version: version.to_owned(),
        create: calls.create.ok_or_else(lacks)?,
        start: calls.start.ok_or_else(lacks)?,
        on_writable: calls.on_writable,
        sink,
        stop: calls.stop.ok_or_else(lacks)?,
        destroy: calls.destroy.ok_or_else(lacks)?,
        name,
    })
}

/// A text of a descriptor.
fn text(text: Text, what: &str) -> Result<String, Refusal> {
    const LONGEST: usize = 256;
    if text.length > LONGEST {
        return Err(Refusal::Malformed(format!("its {what} is too long")));
    }
    // SAFETY: texts of a descriptor are there for good.
    #[expect(unsafe_code, reason = "a text of the library")]
    let read = unsafe { text.read() };
    match read {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(Refusal::Malformed(format!("its {what} is no text"))),
    }
}
